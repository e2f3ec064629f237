"""Deferred frames that wait for the region's answer: joins answers to frames and tells which deadlines have passed. Pure.

Rules, in order:
1. A frame waits from the moment it was deferred, whether or not its case is in the spool yet; `bind` tells its sequence later.
2. An answer that comes before its `bind` is kept (at most 64 of them); one that nobody waits for (an audit sample's, or one past the
   deadline) is counted.
3. A frame may wait for another frame's answer instead (`follow`): it leaves with the others of that one.
4. A frame leaves exactly once: answered or expired.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import Generic, TypeVar

Item = TypeVar("Item")
Word = TypeVar("Word")
Key = tuple[str, int]
EARLY_LIMIT = 64


class Waiting(Generic[Item, Word]):
    """The frames that wait. Not locked: its owner is."""

    def __init__(self) -> None:
        self._items: dict[Key, Item] = {}
        self._deadlines: list[tuple[float, Key]] = []
        self._key_of: dict[int, Key] = {}
        self._sequence_of: dict[Key, int] = {}
        self._early: OrderedDict[int, Word] = OrderedDict()
        self._heirs: dict[Key, list[Key]] = {}
        self._heir_of: dict[Key, Key] = {}
        self.unawaited = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, key: Key, item: Item, deadline: float) -> None:
        """Let a frame wait until `deadline` (monotonic seconds)."""
        self._items[key] = item
        heapq.heappush(self._deadlines, (deadline, key))

    def follow(self, key: Key, leader: Key) -> None:
        """Let a waiting frame wait for the answer to another one's case."""
        self._heirs.setdefault(leader, []).append(key)
        self._heir_of[key] = leader

    def inherit(self, leader: Key) -> list[Item]:
        """Remove and return the frames that wait for a frame's answer."""
        return [self._leave(key) for key in list(self._heirs.get(leader, ()))]

    def bind(self, sequence: int, key: Key) -> tuple[Item, Word] | None:
        """Tell which sequence a frame's case has; returns frame and answer when the answer came first."""
        if key not in self._items:
            self._early.pop(sequence, None)
            return None
        if sequence in self._early:
            self.unawaited -= 1
            return self._leave(key), self._early.pop(sequence)
        self._key_of[sequence] = key
        self._sequence_of[key] = sequence
        return None

    def answer(self, sequence: int, word: Word) -> Item | None:
        """Take an answer; returns the frame it belongs to, None when that is not known yet or no longer waits."""
        key = self._key_of.get(sequence)
        if key is not None:
            return self._leave(key)
        self._early[sequence] = word
        if len(self._early) > EARLY_LIMIT:
            self._early.popitem(last=False)
        self.unawaited += 1
        return None

    def expired(self, now: float) -> list[Item]:
        """Remove and return the frames whose deadline has come."""
        gone = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, key = heapq.heappop(self._deadlines)
            if key in self._items:
                gone.append(self._leave(key))
        return gone

    def next_deadline(self) -> float | None:
        """Return the earliest deadline, None when nothing waits."""
        while self._deadlines and self._deadlines[0][1] not in self._items:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def _leave(self, key: Key) -> Item:
        sequence = self._sequence_of.pop(key, None)
        if sequence is not None:
            self._key_of.pop(sequence, None)
        leader = self._heir_of.pop(key, None)
        if leader is not None:
            self._heirs[leader].remove(key)
            if not self._heirs[leader]:
                del self._heirs[leader]
        return self._items.pop(key)
