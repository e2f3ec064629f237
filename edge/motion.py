"""The motion gate: whether a frame differs from the last one that was answered. Pure, on the luma plane, before anything is converted.

Rules, in order:
1. A frame that the audit draws passes, whatever it shows: the sample is drawn before the gate, so it judges what the gate keeps back.
2. The first frame, one of another size and one after `LONGEST_STILL_S` without an answer pass.
3. Brightness is averaged over cells of 8x8 pixels (four of each). A cell has changed when it differs by more than LEAST_CHANGE from the
   last *answered* frame: what creeps adds up, and a frame that is kept back moves nothing.
4. A frame passes when more than the given share of its cells has changed.

A frame that is kept back has no event: the answer before it stands. Its stream counts it as `still`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge.sources.base import Luma

CELL = 8
LEAST_CHANGE = 10
"""Steps of brightness, of 255: above the noise of four pixels averaged, below what a moving thing does."""
LONGEST_STILL_S = 10.0
Cells = np.ndarray[tuple[int, ...], np.dtype[np.int16]]


class MotionGate:
    """Decides frame by frame for one stream.

    Args:
        share: the share of cells, 0 to 1, that must be exceeded.
        is_audit: tells by its number whether the audit draws a frame.
    """

    def __init__(self, *, share: float, is_audit: Callable[[int], bool]) -> None:
        self._share = share
        self._is_audit = is_audit
        self._answered: Cells | None = None
        self._answered_at = 0.0

    def passes(self, number: int, luma: Luma, now: float) -> bool:
        """Tell whether a frame is to be answered.

        Args:
            number: the frame's number in its stream.
            luma: its brightness, shape (H, W).
            now: monotonic seconds.
        """
        found = cells(luma)
        if self._is_audit(number) or self._is_due(found, now) or self._changed(found) > self._share:
            self._answered, self._answered_at = found, now
            return True
        return False

    def _is_due(self, found: Cells, now: float) -> bool:
        before = self._answered
        return before is None or before.shape != found.shape or now - self._answered_at >= LONGEST_STILL_S

    def _changed(self, found: Cells) -> float:
        """Return the share of changed cells."""
        if self._answered is None:
            return 1.0
        return np.count_nonzero(np.abs(found - self._answered) > 4 * LEAST_CHANGE) / found.size


def cells(luma: Luma) -> Cells:
    """Return four times the brightness of each cell of 8x8 pixels, int16 of shape (H // 8, W // 8); at least one cell.

    Args:
        luma: shape (H, W).
    """
    rows, columns = luma.shape[0] // CELL * CELL, luma.shape[1] // CELL * CELL
    if not rows or not columns:
        return np.full((1, 1), 4 * float(luma.mean()) if luma.size else 0.0).astype(np.int16)
    inside = luma[:rows, :columns]
    total = inside[2::CELL, 2::CELL].astype(np.int16)
    for row, column in ((2, 6), (6, 2), (6, 6)):
        total += inside[row::CELL, column::CELL]
    return total
