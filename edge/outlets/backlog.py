"""The queue of one output: bounded, the oldest gives way. Pure; its owner holds the lock.

A line wants to know what is true now: when an output is behind, the event that waited longest is worth least.

Example:
    >>> backlog: Backlog[int] = Backlog(2)
    >>> for number in (1, 2, 3):
    ...     backlog.add(number)
    >>> backlog.take(10), backlog.lost
    ([2, 3], {'overflow': 1})
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

One = TypeVar("One")
OVERFLOW, REFUSED, STOPPED = "overflow", "refused", "stopped"
"""Why an event was lost: too many waited; the other side will not have it; the agent ended first."""


class Backlog(Generic[One]):
    """What waits, and how many were lost and why.

    Args:
        most: how many may wait.
    """

    def __init__(self, most: int) -> None:
        self._waiting: deque[One] = deque()
        self._most = most
        self.lost: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, one: One) -> None:
        """Let one wait; where there is no room the oldest is lost."""
        if len(self._waiting) >= self._most:
            self._waiting.popleft()
            self.lose(OVERFLOW, 1)
        self._waiting.append(one)

    def take(self, most: int) -> list[One]:
        """Return the oldest, `most` of them at most; they wait no longer."""
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def lose(self, reason: str, count: int) -> None:
        """Count events that will not arrive."""
        if count:
            self.lost[reason] = self.lost.get(reason, 0) + count

    def lost_in_all(self) -> int:
        """Return how many were lost for whatever reason."""
        return sum(self.lost.values())
