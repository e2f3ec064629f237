"""A frame: one picture of one stream, the thing everything else is about."""

from __future__ import annotations

import msgspec
import numpy as np

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
"""uint8 RGB, shape (H, W, 3)."""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One picture of one stream.

    `number` counts every frame of the stream from 0, also those that were dropped; `unit` names what is independent;
    `captured_at` is Unix seconds; `arrived_at` is monotonic seconds, for latency.
    """

    stream: str
    number: int
    unit: str
    captured_at: float
    arrived_at: float
    pixels: Pixels
