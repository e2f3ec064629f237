"""The backlog before the expert: which cases make the next batch. Pure; the worker's thread pulls from it.

Rules, in order:
1. No waiting for more: whoever pulls gets what is there, up to the largest batch.
2. Hard cases go before audit samples, both before late ones; within a class the first come go first.
3. A case whose answer would come too late is shed: when it is offered (the predicted wait is too long, or the backlog is full)
   and again when its batch is made. Shed is not lost: it lies in the vault and comes back as LATE when there is time.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum

import msgspec

from region.admission import BatchTimes
from shared.wire.messages import Case


class Priority(IntEnum):
    """Who goes first."""

    HARD = 0
    AUDIT = 1
    LATE = 2


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A stored case that waits for its answer. `received_at` and `deadline` are monotonic seconds; LATE jobs have no deadline."""

    id: int
    device: str
    spool: bytes
    sequence: int
    case: Case
    priority: Priority
    received_at: float
    deadline: float = float("inf")


class Backlog:
    """Jobs by priority.

    Args:
        largest: cases in a batch at most.
        capacity: cases that may wait at most.
    """

    def __init__(self, *, largest: int, capacity: int) -> None:
        self.times = BatchTimes()
        self.shed = 0
        self._largest = largest
        self._capacity = capacity
        self._queues: tuple[deque[Job], ...] = tuple(deque() for _ in Priority)

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues)

    def offer(self, job: Job, *, now: float) -> bool:
        """Take a job in, unless it would be answered too late or nothing fits (rule 3); returns whether it was taken."""
        ahead = sum(len(queue) for queue in self._queues[: job.priority + 1])
        is_late = now + self.times.wait_s(ahead=ahead, largest=self._largest) > job.deadline
        if is_late or len(self) >= self._capacity:
            self.shed += 1
            return False
        self._queues[job.priority].append(job)
        return True

    def take(self, *, now: float) -> list[Job]:
        """Remove and return the next batch, the most urgent first; empty when nothing waits."""
        batch: list[Job] = []
        done_at = now + self.times.typical_s
        for queue in self._queues:
            while queue and len(batch) < self._largest:
                job = queue.popleft()
                if job.deadline < done_at:
                    self.shed += 1
                else:
                    batch.append(job)
        return batch
