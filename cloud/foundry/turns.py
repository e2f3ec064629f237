"""The turns of a picture that its class survives: mirrored, and for some data turned in all eight ways. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from shared.learning.samples import Frames


def turned(frames: Frames, *, all_eight: bool) -> Iterator[Frames]:
    """Yield turned copies of square frames, never the frames as they are.

    Args:
        frames: uint8 (N, H, H, 3).
        all_eight: whether up and down mean nothing: quarter turns and mirrors, seven copies; else the mirror alone, one copy.
    """
    for quarters in range(4) if all_eight else (0,):
        whole = np.rot90(frames, quarters, axes=(1, 2))
        if quarters:
            yield np.ascontiguousarray(whole)
        yield np.ascontiguousarray(whole[:, :, ::-1])
