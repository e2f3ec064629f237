"""What waits in a spool and what gives way when it is full. Pure; the spool keeps it in step with its file.

The capacity is divided: audit samples and hard cases each have a share of their own, so that neither can crowd out the other.
(Control messages do not lie here: they are few, only the latest of each counts, and a reserve on the disk is kept for the
index and them.) When a share would overflow, what is worth least gives way, which may be the new item itself:
1. A hard case is worth its value; of two equals the older one gives way.
2. An audit sample is worth a random tag drawn from its sequence under a key, so that what remains is a uniform sample of all
   that ever came, neither older nor newer ones first.
3. What is larger than its whole share is not taken.

Example:
    >>> shelf = Shelf(capacity_bytes=1000, key=b"")
    >>> shelf.add(Waiting(sequence=1, size=600, is_audit=False, value=0.5))
    >>> shelf.victims(Waiting(sequence=2, size=600, is_audit=False, value=0.9))
    [1]
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from enum import Enum

import msgspec


class Share(Enum):
    """A part of the spool with room of its own; the value is its fraction of the capacity."""

    HARD = 0.75
    AUDIT = 0.25


class Waiting(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One case that no receipt has removed. `size` is the payload's, in bytes; a higher `value` is sent sooner."""

    sequence: int
    size: int
    is_audit: bool
    value: float

    @property
    def share(self) -> Share:
        """The part of the spool it lies in."""
        return Share.AUDIT if self.is_audit else Share.HARD


class _Part:
    """One share: its items, and a heap of (worth, sequence) in which items that have left are skipped when met."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.used = 0
        self.items: dict[int, Waiting] = {}
        self.heap: list[tuple[float, int]] = []


class Shelf:
    """The index of a spool: what waits, how much room each share has left.

    Args:
        capacity_bytes: of the whole spool, counted in payload bytes.
        key: makes the audit samples' tags unpredictable; the spool's id.
    """

    def __init__(self, *, capacity_bytes: int, key: bytes) -> None:
        self._parts = {share: _Part(int(capacity_bytes * share.value)) for share in Share}
        self._key = key
        self._all: dict[int, Waiting] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, sequence: object) -> bool:
        return sequence in self._all

    def get(self, sequence: int) -> Waiting | None:
        """Return an item, None when it is not here."""
        return self._all.get(sequence)

    @property
    def size_bytes(self) -> int:
        """Payload bytes that wait."""
        return sum(part.used for part in self._parts.values())

    @property
    def lowest(self) -> int | None:
        """The lowest sequence that waits."""
        return min(self._all, default=None)

    def waiting(self) -> list[Waiting]:
        """Return all that waits, oldest first."""
        return [self._all[sequence] for sequence in sorted(self._all)]

    def add(self, item: Waiting) -> None:
        """Put an item on the shelf; room was made before."""
        part = self._parts[item.share]
        self._all[item.sequence] = part.items[item.sequence] = item
        part.used += item.size
        heapq.heappush(part.heap, (self._worth(item), item.sequence))

    def fill(self, items: Iterable[Waiting]) -> None:
        """Put many items on an empty shelf, as after a start."""
        hard, audit = self._parts[Share.HARD], self._parts[Share.AUDIT]
        for item in items:
            part = audit if item.is_audit else hard
            self._all[item.sequence] = part.items[item.sequence] = item
            part.used += item.size
            part.heap.append((self._worth(item) if item.is_audit else item.value, item.sequence))
        for part in (hard, audit):
            heapq.heapify(part.heap)

    def remove(self, sequences: Iterable[int]) -> list[Waiting]:
        """Take items off; returns those that were there."""
        found = [self._all.pop(sequence) for sequence in set(sequences) if sequence in self._all]
        for item in found:
            part = self._parts[item.share]
            del part.items[item.sequence]
            part.used -= item.size
            if len(part.heap) > 2 * len(part.items) + 64:
                part.heap = sorted((self._worth(left), left.sequence) for left in part.items.values())
        return found

    def victims(self, new: Waiting) -> list[int] | None:
        """Say who must give way for a new item; a proposal, nothing is removed.

        Returns:
            Sequences to remove first, often none; or None when the new item itself must give way.
        """
        part, worth = self._parts[new.share], self._worth(new)
        missing = part.used + new.size - part.room
        if new.size > part.room:
            return None
        chosen: list[tuple[float, int]] = []
        while missing > 0:
            cheapest = heapq.heappop(part.heap)
            if cheapest[1] not in part.items:
                continue  # it left earlier
            chosen.append(cheapest)
            if cheapest[0] > worth:
                break
            missing -= part.items[cheapest[1]].size
        for entry in chosen:
            heapq.heappush(part.heap, entry)
        return None if missing > 0 else [sequence for _, sequence in chosen]

    def _worth(self, item: Waiting) -> float:
        if item.share is Share.HARD:
            return item.value
        tag = hashlib.sha256(self._key + item.sequence.to_bytes(8, "big")).digest()
        return int.from_bytes(tag[:6], "big") / 2**48
