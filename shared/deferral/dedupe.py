"""Near-duplicates: a frame that looks like one sent lately inherits that one's answer instead of being sent too. Pure.

Rules, in order:
1. A frame is described by the mean brightness of GRID x GRID blocks of its luma plane. Two frames are as far apart as their most
   different blocks: a fault is one block of many and must not vanish in a mean, while noise vanishes in each block's.
2. Only frames that were sent are remembered, and only for `within_s`; one that still waits for its answer after `answer_s` attracts no
   more: whoever looks like it is sent.
3. A frame nearer than `nearness` to a remembered one of its own stream inherits that case's answer, at once or when it comes; the nearest
   one's, of equals the newest's. Where only a part of a frame was sent, what is uncertain of the heir lies within that part.
4. An heir counts as kept, with the inherited answer in the student's place.
5. Chains do not form: an heir is not remembered, so everything that shares an answer lies within `nearness` of the case itself.
6. At most `capacity` cases of a stream are remembered, the oldest go first; at most `heirs` frames wait for one case's answer.

Not here: which frames are looked at (after the audit draw and the score), which case has which sequence and who waits (edge).

Example:
    >>> seen = RecentCases(nearness=6.0, within_s=60.0, answer_s=5.0, capacity=64)
    >>> dark, bright = np.zeros((48, 48, 3), np.uint8), np.full((48, 48, 3), 200, np.uint8)
    >>> seen.add("line-1", 7, describe(dark), now=0.0)
    >>> seen.inherit("line-1", describe(dark), now=1.0).frame, seen.inherit("line-1", describe(bright), now=1.0)
    (7, None)
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

import msgspec
import numpy as np

from shared.vision.crops import Part, covers
from shared.vision.frames import Pixels

GRID = 24
Descriptor = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
"""float32 (GRID, GRID), or smaller for a frame with fewer pixels: mean luma of each block, 0 to 255."""
Word = TypeVar("Word")


class Case(msgspec.Struct, Generic[Word], kw_only=True):
    """A remembered case: its frame's number and part that was sent (None: the whole), when the frame came (monotonic seconds).

    `answer` is the region's where it has come, `heirs` how many frames inherit it or will.
    """

    frame: int
    descriptor: Descriptor
    at: float
    part: Part | None = None
    answer: Word | None = None
    heirs: int = 0


class RecentCases(Generic[Word]):
    """The cases of late, by stream (rules 2 to 6). Not locked: its owner is.

    Args:
        nearness: how far apart two frames may be that share an answer, in grey levels of their most different block.
        within_s: for how long a case is remembered.
        answer_s: for how long a case without an answer attracts others.
        capacity: how many are remembered of a stream.
        heirs: how many frames may wait for one case's answer.
    """

    def __init__(self, *, nearness: float, within_s: float, answer_s: float, capacity: int, heirs: int = 64) -> None:
        self._nearness = nearness
        self._within_s = within_s
        self._answer_s = answer_s
        self._capacity = capacity
        self._heirs = heirs
        self._cases: dict[str, OrderedDict[int, Case[Word]]] = {}

    def __len__(self) -> int:
        return sum(len(cases) for cases in self._cases.values())

    def clear(self) -> None:
        """Forget all cases."""
        self._cases.clear()

    def add(self, stream: str, frame: int, descriptor: Descriptor, *, now: float, part: Part | None = None) -> None:
        """Remember the case of a frame that was sent, or of the `part` of it that was."""
        cases = self._cases.setdefault(stream, OrderedDict())
        cases[frame] = Case(frame=frame, descriptor=descriptor, at=now, part=part)
        cases.move_to_end(frame)
        while len(cases) > self._capacity:
            cases.popitem(last=False)

    def answered(self, stream: str, frame: int, answer: Word) -> None:
        """Join the region's answer to its case; nothing happens where it is forgotten already."""
        case = self.get(stream, frame)
        if case is not None:
            case.answer = answer

    def forget(self, stream: str, frame: int) -> None:
        """Forget a frame's case, where it is remembered."""
        self._cases.get(stream, OrderedDict()).pop(frame, None)

    def get(self, stream: str, frame: int) -> Case[Word] | None:
        """Return a frame's case, None where it is not remembered."""
        cases = self._cases.get(stream)
        return cases.get(frame) if cases is not None else None

    def inherit(self, stream: str, descriptor: Descriptor, *, now: float, part: Part | None = None) -> Case[Word] | None:
        """Return the case whose answer a frame inherits and count it as an heir; None where there is none. Forgets what is too old.

        Args:
            stream: the frame's.
            descriptor: the frame's.
            now: monotonic seconds.
            part: what is uncertain of the frame, None for the whole.
        """
        cases = self._cases.get(stream, OrderedDict())
        for frame in [frame for frame, case in cases.items() if now - case.at > self._within_s]:
            del cases[frame]
        nearest, least = None, self._nearness
        for case in reversed(cases.values()):
            if not self._attracts(case, now) or not covers(case.part, part):
                continue
            apart = distance(case.descriptor, descriptor)
            if apart < least:
                nearest, least = case, apart
        if nearest is not None:
            nearest.heirs += 1
        return nearest

    def _attracts(self, case: Case[Word], now: float) -> bool:
        return case.answer is not None or (now - case.at <= self._answer_s and case.heirs < self._heirs)


def describe(pixels: Pixels) -> Descriptor:
    """Return a frame's descriptor (rule 1) for RGB pixels uint8 (H, W, 3); luma as ITU-R BT.601."""
    luma = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    rows, columns = (_edges(side) for side in luma.shape)
    sums = np.add.reduceat(np.add.reduceat(luma, rows[:-1], axis=0), columns[:-1], axis=1)
    return np.asarray(sums / np.outer(np.diff(rows), np.diff(columns)), np.float32)


def distance(one: Descriptor, other: Descriptor) -> float:
    """Return how far apart two frames are: grey levels between their most different blocks; infinite for unlike shapes."""
    return float(np.abs(one - other).max()) if one.shape == other.shape else float("inf")


def _edges(side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return the edges of at most GRID nearly equal blocks of a side, the last one its end."""
    return np.asarray(np.linspace(0, side, min(GRID, side) + 1).round(), np.int64)
