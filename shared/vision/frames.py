"""A frame: one picture of one stream, the thing everything else is about."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
"""uint8 RGB, shape (H, W, 3)."""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One picture of one stream.

    `number` counts every frame of the stream from 0, also those that were dropped; `unit` names what is independent;
    `captured_at` is Unix seconds; `arrived_at` is monotonic seconds, for latency. `pixels` may have been scaled to the network's size
    already; `whole` then makes the picture in its own size, on any thread. `good_for_s` is one period of its stream: an older frame is
    not worth an answer, since its successor is due.
    """

    stream: str
    number: int
    unit: str
    captured_at: float
    arrived_at: float
    pixels: Pixels
    whole: Callable[[], Pixels] | None = None
    good_for_s: float = math.inf

    def picture(self) -> Pixels:
        """Return the picture in its own size: what travels to the region and what people see."""
        return self.pixels if self.whole is None else self.whole()
