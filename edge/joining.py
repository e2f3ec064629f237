"""What is known of a case by its sequence and what the region answers to it come together here, in whichever order they come. Pure.

The case writer tells a case's sequence (`bind`), the uplink brings the answer: either may be first. What never meets its partner gives
way to what is newer, so nothing grows. Not locked: its owner is. Frames that wait until a deadline: edge.waiting.

Example:
    >>> joining = Joining(most=100)
    >>> joining.answer(7, "spur"), joining.bind(7, "frame 12"), joining.bind(8, "frame 13"), joining.answer(8, "open")
    (None, 'spur', None, 'frame 13')
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

MOST_EARLY = 64
"""Answers that are kept for an item still on its way here; each may hold a map of a megabyte."""
Item = TypeVar("Item")
Word = TypeVar("Word")
Key = TypeVar("Key")
Value = TypeVar("Value")


class Joining(Generic[Item, Word]):
    """Items by sequence, and answers that came before their item.

    Args:
        most: items that may wait for their answer.
    """

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._items: OrderedDict[int, Item] = OrderedDict()
        self._early: OrderedDict[int, Word] = OrderedDict()

    def bind(self, sequence: int, item: Item) -> Word | None:
        """Tell which sequence an item's case has; returns the answer when it came first."""
        if sequence in self._early:
            return self._early.pop(sequence)
        self._items[sequence] = item
        bound(self._items, self._most)
        return None

    def answer(self, sequence: int, word: Word, *, is_expected: bool = True) -> Item | None:
        """Take an answer; returns the item it belongs to.

        Args:
            sequence: the case's.
            word: what was answered.
            is_expected: whether a `bind` may still come; if not, an answer to an unknown case is not kept.
        """
        item = self._items.pop(sequence, None)
        if item is None and is_expected:
            self._early[sequence] = word
            bound(self._early, MOST_EARLY)
        return item

    def waiting(self) -> list[tuple[int, Item]]:
        """Return the items that wait for their answer, by sequence, the oldest first."""
        return list(self._items.items())

    def clear(self) -> None:
        """Forget everything."""
        self._items.clear()
        self._early.clear()


def bound(memory: OrderedDict[Key, Value], most: int) -> None:
    """Let the oldest go until at most so many are left."""
    while len(memory) > most:
        memory.popitem(last=False)
