"""Where the inference thread leaves frames that must be sent: bounded, never blocking; the least valuable go first when it is full.

Rules, in order:
1. A hard frame is worth its distance below the threshold. When there is no room, the least valuable hard frame is dropped, which may
   be the newcomer.
2. Audit samples are not ranked: they give way only to nobody, so a newcomer is dropped when only audit samples are there.
3. Audit samples leave first, then the most valuable hard frame.
"""

from __future__ import annotations

import threading
from collections import deque

from edge.events import Inferred
from shared.deferral.policy import Action


class HandOver:
    """A bounded place between the inference thread and the spool's writer.

    Args:
        capacity: frames that may wait.
    """

    def __init__(self, capacity: int = 64) -> None:
        self._capacity = capacity
        self._audit: deque[Inferred] = deque()
        self._hard: list[Inferred] = []
        self._ready = threading.Condition()
        self._closed = False
        self.dropped_hard = 0
        self.dropped_audit = 0

    def offer(self, inferred: Inferred) -> None:
        """Leave a frame; drops the least valuable when full. Never blocks for longer than a few instructions."""
        with self._ready:
            if len(self._audit) + len(self._hard) >= self._capacity and not self._make_room(inferred):
                return
            if inferred.decision.action is Action.AUDIT:
                self._audit.append(inferred)
            else:
                self._hard.append(inferred)
            self._ready.notify()

    def take(self, limit: int, timeout_s: float) -> list[Inferred]:
        """Wait for frames and take up to `limit` of them, best first; empty after the time-out or when closed and empty."""
        with self._ready:
            if not self._audit and not self._hard and not self._closed:
                self._ready.wait(timeout_s)
            taken = [self._audit.popleft() for _ in range(min(limit, len(self._audit)))]
            self._hard.sort(key=lambda one: one.decision.value)
            return taken + [self._hard.pop() for _ in range(min(limit - len(taken), len(self._hard)))]

    def close(self) -> None:
        """Wake whoever waits; what is there may still be taken."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def __len__(self) -> int:
        return len(self._audit) + len(self._hard)

    def _value(self, place: int) -> float:
        return self._hard[place].decision.value

    def _make_room(self, newcomer: Inferred) -> bool:
        """Drop one frame; False when that is the newcomer."""
        least = min(range(len(self._hard)), key=self._value, default=None)
        is_audit = newcomer.decision.action is Action.AUDIT
        if least is None:
            self.dropped_audit += is_audit
            self.dropped_hard += not is_audit
            return False
        self.dropped_hard += 1
        if not is_audit and newcomer.decision.value <= self._value(least):
            return False
        self._hard.pop(least)
        return True
