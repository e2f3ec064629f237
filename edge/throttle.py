"""Lets through what the governor's step allows: every so manieth frame, its picture made smaller. Pure.

Rules, in order:
1. Of a stream's frames the share `rate` is allowed, evenly spread by their numbers, so that it is the same on every machine. A frame
   that is not is left out before it is converted.
2. It counts as dropped: what is dropped is dropped before the audit is drawn, so audit samples stay a fair draw.
3. A picture is made smaller by the mean of squares of pixels, and never below what the network takes. What has been scaled to the
   network's size already stays; the picture that would travel to the region is made smaller when it is asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import msgspec
import numpy as np

from edge.governor import STEPS, Step
from edge.relief import passes
from shared.vision.frames import Frame, Pixels


def shrunk(pixels: Pixels, *, factor: int, height: int, width: int) -> Pixels:
    """Return a picture with its sides divided, or as it is where that would be less than `height` by `width` pixels."""
    rows, columns = pixels.shape[0] // factor, pixels.shape[1] // factor
    if factor <= 1 or rows < height or columns < width:
        return pixels
    squares = pixels[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, -1)
    total = squares.sum(axis=(1, 3), dtype=np.uint32)
    mean: Pixels = ((total + factor * factor // 2) // (factor * factor)).astype(np.uint8)
    return mean


class Throttle:
    """Stands between the streams and the newest frames; called from the streams' threads.

    Args:
        put: takes a frame.
        skip: is told the stream of a frame that is not allowed.
        wants: is asked about one that is, by stream and number; counts one that is not worth it. None wants all.
        takes: gives what the running model takes, (height, width) in pixels; None before the first.
    """

    def __init__(
        self,
        *,
        put: Callable[[Frame], None],
        skip: Callable[[str], None],
        takes: Callable[[], tuple[int, int] | None],
        wants: Callable[[str, int], bool] | None = None,
    ) -> None:
        self._put = put
        self._skip = skip
        self._wants = wants
        self._takes = takes
        self.step: Step = STEPS[0]

    def allows(self, stream: str, number: int) -> bool:
        """Tell whether a frame may be answered; one that may not is counted."""
        if passes(number, self.step.rate):
            return self._wants is None or self._wants(stream, number)
        self._skip(stream)
        return False

    def put(self, frame: Frame) -> None:
        """Hand a frame on, smaller if need be. Never blocks."""
        factor, takes = self.step.shrink, self._takes()
        if factor > 1 and takes is not None:
            less = functools.partial(shrunk, factor=factor, height=takes[0], width=takes[1])
            whole = functools.partial(_then, frame.whole, less) if frame.whole else None
            frame = msgspec.structs.replace(frame, pixels=less(frame.pixels), whole=whole)
        self._put(frame)


def _then(whole: Callable[[], Pixels], less: Callable[[Pixels], Pixels]) -> Pixels:
    return less(whole())
