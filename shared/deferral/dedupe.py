"""Near-duplicates: a frame that looks like one whose case is already with the region need not be sent again. Pure.

Rules, in order:
1. A frame is described by the mean brightness of GRID x GRID blocks of its luma plane. Two frames are as far apart as their most
   different blocks: a fault is one block of many and must not vanish in a mean, while noise vanishes in each block's.
2. Only deferred frames are remembered, and only for `within_s`; one that still waits for its answer after `answer_s` attracts no more:
   whoever looks like it is sent.
3. A frame nearer than `nearness` to a remembered one inherits that case's answer, at once or when it comes. It counts as kept, with the
   inherited answer in the student's place.
4. Chains do not form: an heir is not remembered, so everything that shares an answer lies within `nearness` of the case itself.
5. At most `capacity` cases are remembered; the oldest go first.

Not here: which frames are looked at (after the audit draw and the score), the waiting frames themselves (edge).

Example:
    >>> seen = RecentCases(nearness=6.0, within_s=60.0, answer_s=5.0, capacity=64)
    >>> dark, bright = np.zeros((48, 48, 3), np.uint8), np.full((48, 48, 3), 200, np.uint8)
    >>> seen.add("case 1", describe(dark), now=0.0)
    >>> seen.find(describe(dark), now=1.0).key, seen.find(describe(bright), now=1.0)
    ('case 1', None)
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

import msgspec
import numpy as np

from shared.vision.frames import Pixels

GRID = 24
Descriptor = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
"""float32 (GRID, GRID), or smaller for a frame with fewer pixels: mean luma of each block, 0 to 255."""
Key = TypeVar("Key")
Word = TypeVar("Word")


class Case(msgspec.Struct, Generic[Key, Word], frozen=True, kw_only=True):
    """A remembered case: its name, when its frame came (monotonic seconds), and the region's answer where it has come."""

    key: Key
    descriptor: Descriptor
    at: float
    answer: Word | None = None


class RecentCases(Generic[Key, Word]):
    """The cases of late (rules 2 to 5). Not locked: its owner is.

    Args:
        nearness: how far apart two frames may be that share an answer, in grey levels of their most different block.
        within_s: for how long a case is remembered.
        answer_s: for how long a case without an answer attracts others.
        capacity: how many are remembered.
    """

    def __init__(self, *, nearness: float, within_s: float, answer_s: float, capacity: int) -> None:
        self._nearness = nearness
        self._within_s = within_s
        self._answer_s = answer_s
        self._capacity = capacity
        self._cases: OrderedDict[Key, Case[Key, Word]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._cases)

    def add(self, key: Key, descriptor: Descriptor, *, now: float) -> None:
        """Remember a deferred frame's case."""
        self._cases[key] = Case(key=key, descriptor=descriptor, at=now)
        self._cases.move_to_end(key)
        while len(self._cases) > self._capacity:
            self._cases.popitem(last=False)

    def answered(self, key: Key, answer: Word) -> None:
        """Join the region's answer to its case; nothing happens where it is forgotten already."""
        case = self._cases.get(key)
        if case is not None:
            self._cases[key] = msgspec.structs.replace(case, answer=answer)

    def find(self, descriptor: Descriptor, *, now: float) -> Case[Key, Word] | None:
        """Return the nearest case whose answer a frame inherits, None where none is near enough; forgets what is too old."""
        self._forget(now)
        nearest, least = None, self._nearness
        for case in self._cases.values():
            if case.answer is None and now - case.at > self._answer_s:
                continue
            apart = distance(case.descriptor, descriptor)
            if apart < least:
                nearest, least = case, apart
        return nearest

    def _forget(self, now: float) -> None:
        while self._cases:
            key, oldest = next(iter(self._cases.items()))
            if now - oldest.at <= self._within_s:
                return
            del self._cases[key]


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
