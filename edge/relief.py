"""Leaves frames out before they are converted, when more arrive than are answered. Pure.

Converting a frame that is replaced or becomes stale before its turn is work for nothing, and it takes the processor from the work that
answers. What is converted follows what is answered, smoothly and within a second or two, both ways.

Rules, in order:
1. Every `WINDOW_S`: when most batches were full and left frames behind, and more than `LOSS` of the frames put were lost (replaced or
   stale), the share that is let through becomes what was answered of it and a little more, at most halved; else it grows by `GROWTH`.
   So a few are always lost: that is how room is found when there is some again. What is lost while batches have room is not counted.
2. Of a stream's frames the share is let through evenly spread by their numbers, of streams that keep step at different ones: together they
   would come in bursts. The draw of the audit comes after: it stays fair.
3. No stream is left out altogether: `LEAST`.

Not here: counting (newest), heat and memory (governor), which step a device down for minutes; this answers within a second.
"""

from __future__ import annotations

import math
import zlib

WINDOW_S = 0.5
LOSS, MARGIN, GROWTH, LEAST = 0.05, 1.05, 1.1, 0.02


def passes(number: int, rate: float) -> bool:
    """Tell whether a frame is among the share that is allowed."""
    return math.floor((number + 1) * rate) > math.floor(number * rate)


def allows(stream: str, number: int, share: float) -> bool:
    """Tell whether a frame of a stream is let through (rule 2)."""
    return share >= 1.0 or passes(number + zlib.crc32(stream.encode()) % 4096, share)


class Relief:
    """Follows what is answered; `share` of the frames is to be converted."""

    def __init__(self) -> None:
        self.share = 1.0
        self._since: float | None = None
        self._put = self._taken = self._lost = 0
        self._batches = self._crowded = 0

    def see(self, now: float, *, put: int, taken: int, lost: int, is_crowded: bool) -> None:
        """Take the counts after a batch was chosen.

        Args:
            now: monotonic seconds.
            put: frames that were put since the beginning.
            taken: those of them that were taken.
            lost: those that were replaced or became stale.
            is_crowded: whether the batch left frames behind that could have been answered.
        """
        self._batches += 1
        self._crowded += is_crowded
        if self._since is None or now - self._since >= WINDOW_S:
            if self._since is not None:
                self._follow(put - self._put, taken - self._taken, lost - self._lost)
            self._since, self._put, self._taken, self._lost = now, put, taken, lost
            self._batches = self._crowded = 0

    def _follow(self, came: int, answered: int, gone: int) -> None:
        if came and gone > LOSS * came and 2 * self._crowded > self._batches:
            self.share = max(LEAST, self.share * max(0.5, min(1.0, MARGIN * answered / came)))
        else:
            self.share = min(1.0, self.share * GROWTH)
