"""Messages between the MQTT thread and an intake worker: a queue in which no device has more than its share. Pure.

`put` is called by one thread and `take` by one other; each writes its own counts only, so that neither waits for the other. Between the
letters there may be words to the worker itself (`put_word`), which it finds when it has taken what came before.

Example:
    >>> letters: Letters[str] = Letters(longest=8)
    >>> [letters.put(Letter(topic="t", payload=b"", device="a", now=0.0, at=0.0)) for _ in range(3)]
    [True, True, False]
    >>> letters.put_word("stop")
    >>> letters.put(Letter(topic="t", payload=b"", device="b", now=0.0, at=0.0))
    True
    >>> letters.word(), len(letters.take(64)), letters.word(), len(letters.take(64)), len(letters)
    (None, 2, 'stop', 1, 0)
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Generic, TypeVar

import msgspec

SHARES = 4
"""One device has at most so great a part of the queue."""
Word = TypeVar("Word")


class Letter(msgspec.Struct, frozen=True):
    """A message as it came off the broker, and whose; `now` monotonic, `at` Unix seconds."""

    topic: str
    payload: bytes
    device: str
    now: float
    at: float


class Letters(Generic[Word]):
    """The queue.

    Args:
        longest: letters it holds.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._waiting: deque[Letter | Word] = deque()
        self._put: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, letter: Letter) -> bool:
        """Queue a letter; returns False when the queue is full, or its device's share is."""
        waiting = self._put[letter.device] - self._taken[letter.device]
        if len(self._waiting) >= self._longest or waiting >= self._longest // SHARES:
            return False
        self._put[letter.device] += 1
        self._waiting.append(letter)
        return True

    def put_word(self, word: Word) -> None:
        """Queue a word to the worker, behind every letter that is there."""
        self._waiting.append(word)

    def word(self) -> Word | None:
        """Take the word that comes next; None when a letter does, or nothing."""
        if not self._waiting or isinstance(first := self._waiting[0], Letter):
            return None
        self._waiting.popleft()
        return first

    def take(self, most: int) -> list[Letter]:
        """Take the oldest letters, at most so many, up to the next word."""
        taken: list[Letter] = []
        while self._waiting and len(taken) < most and isinstance(letter := self._waiting[0], Letter):
            taken.append(letter)
            self._waiting.popleft()
        self._taken.update(letter.device for letter in taken)
        return taken
