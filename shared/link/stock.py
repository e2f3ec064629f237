"""What a spool holds and has counted: the decisions of the spool, without its disk. Pure.

Two shelves: what is on the disk, and what waits in memory while the disk cannot be written. Rules, in order:
1. A case gets its sequence before anything is decided, and keeps it wherever it goes: what a failing disk may have kept of it
   afterwards is the same case under the same number. A number is never given twice.
2. A case that has to wait in memory can only displace what waits in memory; those on the disk stay.
3. Every case that comes or leaves is counted by reason: spooled = received + evicted + waiting.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from shared.link.retention import Shelf, Waiting


class NewCase(msgspec.Struct, frozen=True, kw_only=True):
    """Something to spool: an encoded case, and what it is worth."""

    payload: bytes
    is_audit: bool = False
    value: float = 0.0


class Appended(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a group: one sequence per case (None where it had to give way itself), and what gave way.

    `is_durable` is False when the disk could not be written: the cases wait in memory and a crash would lose them.
    """

    sequences: tuple[int | None, ...]
    evicted: tuple[int, ...]
    is_durable: bool = True


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided for a group: who was taken, who was not, who leaves for it. A case may be taken and leave for a later one."""

    taken: list[Waiting]
    declined: list[Waiting]
    evicted: list[Waiting]
    before: Counter[str]
    """The counters as they were."""

    @property
    def staying(self) -> list[Waiting]:
        """Those taken that no later one of the group displaced."""
        gone = {item.sequence for item in self.evicted}
        return [item for item in self.taken if item.sequence not in gone]

    @property
    def leaving(self) -> list[int]:
        """The sequences that were there before and leave."""
        new = {item.sequence for item in self.taken}
        return [item.sequence for item in self.evicted if item.sequence not in new]

    def appended(self, items: Sequence[Waiting], *, is_durable: bool) -> Appended:
        """Return it as the answer to who offered `items`."""
        taken = {item.sequence for item in self.taken}
        return Appended(
            sequences=tuple(item.sequence if item.sequence in taken else None for item in items),
            evicted=tuple(item.sequence for item in self.evicted),
            is_durable=is_durable,
        )


class Stock:
    """The holdings of one spool.

    Args:
        capacity_bytes: payload bytes on the disk.
        memory_bytes: payload bytes in memory, while the disk cannot be written.
    """

    def __init__(self, *, capacity_bytes: int, memory_bytes: int) -> None:
        self._sizes = (capacity_bytes, memory_bytes)
        self.spool_id = b""
        self.next = 1
        self.counters: Counter[str] = Counter()
        self.disk = Shelf(capacity_bytes=capacity_bytes, key=b"")
        self.memory = Shelf(capacity_bytes=memory_bytes, key=b"")

    def begin(self, *, spool_id: bytes, next_sequence: int, counters: Counter[str], items: Iterable[Waiting]) -> None:
        """Take up what was found on the disk."""
        self.spool_id, self.next, self.counters = spool_id, next_sequence, counters
        self.disk = Shelf(capacity_bytes=self._sizes[0], key=spool_id)
        self.memory = Shelf(capacity_bytes=self._sizes[1], key=spool_id)
        self.disk.fill(items)

    def __len__(self) -> int:
        return len(self.disk) + len(self.memory)

    def __contains__(self, sequence: object) -> bool:
        return sequence in self.disk or sequence in self.memory

    @property
    def size_bytes(self) -> int:
        """Payload bytes that wait."""
        return self.disk.size_bytes + self.memory.size_bytes

    @property
    def floor(self) -> int:
        """The lowest sequence that waits, or will be given next."""
        return min([self.next, *(shelf.lowest for shelf in (self.disk, self.memory) if shelf.lowest is not None)])

    def waiting(self) -> list[Waiting]:
        """Return all that waits, oldest first."""
        return sorted([*self.disk.waiting(), *self.memory.waiting()], key=lambda item: item.sequence)

    def number(self, cases: Sequence[NewCase]) -> list[Waiting]:
        """Give each case its sequence; nothing is taken yet. A value that is no number is worth nothing."""
        first = self.next
        self.next += len(cases)
        return [
            Waiting(
                sequence=first + place,
                size=len(case.payload),
                is_audit=case.is_audit,
                value=0.0 if math.isnan(case.value) else case.value,
            )
            for place, case in enumerate(cases)
        ]

    def take(self, items: Sequence[Waiting], *, in_memory: bool) -> Taken:
        """Take new cases, the least valuable giving way."""
        before = Counter(self.counters)
        result = self._place(items, *((self.memory, "memory") if in_memory else (self.disk, "full")), before)
        for name, placed in (("spooled", result.taken), ("declined", result.declined)):
            self._count(name, placed)
        return result

    def to_disk(self) -> Taken:
        """Move what waits in memory to the disk's shelf, as far as there is room; all of it was counted when it came."""
        items = self.memory.waiting()
        before = Counter(self.counters)
        self.memory.remove(item.sequence for item in items)
        result = self._place(items, self.disk, "full", before)
        self._count("evicted:full", result.declined)
        return result

    def undo(self, result: Taken) -> None:
        """Take back the last `take` or `to_disk` (what was in memory does not return there by itself); numbers stay used."""
        new = {item.sequence for item in result.taken}
        self.disk.remove(new)
        for item in result.evicted:
            if item.sequence not in new:
                self.disk.add(item)
        self.counters = result.before

    def leave(self, sequences: Iterable[int], name: str) -> list[Waiting]:
        """Let cases go and count them under `name`; returns those that were there."""
        wanted = list(sequences)
        found = [*self.disk.remove(wanted), *self.memory.remove(wanted)]
        self._count(name, found)
        return found

    def found_again(self, item: Waiting) -> None:
        """Take a case whose record stands on the disk though the index had not heard of it."""
        if item.sequence not in self:
            self._count("spooled", [item])
            self.disk.add(item)

    def evicted(self) -> int:
        """Return how many cases have given way or turned out damaged, ever."""
        return sum(n for name, n in self.counters.items() if name.startswith("evicted:"))

    def _place(self, items: Sequence[Waiting], shelf: Shelf, reason: str, before: Counter[str]) -> Taken:
        result = Taken(taken=[], declined=[], evicted=[], before=before)
        for item in items:
            victims = shelf.victims(item)
            if victims is None:
                result.declined.append(item)
                continue
            result.evicted.extend(self.leave(victims, f"evicted:{reason}"))
            result.taken.append(item)
            shelf.add(item)
        return result

    def _count(self, name: str, items: Iterable[Waiting]) -> None:
        for item in items:
            self.counters[f"{name}:{item.share.name.lower()}"] += 1
