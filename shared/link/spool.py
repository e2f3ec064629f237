"""The durable spool: what the device has to send and nobody has confirmed yet. `Stock` decides, `SpoolDisk` keeps; here they meet.

Rules, in order:
1. What `append` has returned as durable is on the disk: records in a segment, one sync per group.
2. A sequence is used once in the life of the spool: every start leaves a gap larger than what could have been given unnoticed.
3. Payloads are sealed with AES-256-GCM under a local key file (0600), bound to spool and sequence; rotation of the link's keys
   never strands them.
4. What gives way when the capacity is reached is `retention`'s decision; every case that leaves unsent is counted by reason, so that
   `spooled = received + evicted + waiting` can be recounted from the files.
5. When the disk is full, read-only or fails, cases wait in bounded memory, an alarm stands, and nothing new is called durable.
   `tend` goes back to the disk as soon as it can be written. What was confirmed meanwhile is deleted then.
6. The floor said to the region is durable before it is said; while the disk cannot be written it stays where it is.
7. One process has the spool open; `recount` reads beside it. Nothing of what the disk does stops the device.
"""

from __future__ import annotations

import gc
import random
import sqlite3
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from shared import log
from shared.errors import StorageError
from shared.link.recount import SpoolCounts, summarise, translated
from shared.link.retention import Waiting
from shared.link.spooldisk import DAMAGE, SPOOL_ID_BYTES, Found, SpoolDisk
from shared.link.spoolindex import copy_index
from shared.link.stock import Appended, NewCase, Stock, Taken

__all__ = ["Appended", "NewCase", "Spool", "SpoolState"]

GAP = 1 << 32
"""Sequences left out at a start; more than a process can give while the disk does not take note."""
LEAP = 1 << 44
"""Where a start that cannot take note begins: at a random one of so many sequences, so that two such starts do not meet."""
MEMORY_BYTES = 16 << 20
RETRY_S = 5.0
IN_MEMORY, ON_DISK_AGAIN, ROW_DAMAGED = "spool_in_memory", "spool_on_disk_again", "spool_case_damaged"
_DISK_FAILS = (OSError, sqlite3.Error)
_NEVER_BY_ITSELF = (NotADirectoryError, FileExistsError, PermissionError)


class SpoolState(msgspec.Struct, frozen=True, kw_only=True):
    """How the spool stands.

    `alarm` is empty, or says why cases wait in memory. `disk_bytes` are the segments'. `bytes_stored` are payloads made durable since
    the start, `bytes_written` what that and all bookkeeping wrote to the flash, at most.
    """

    alarm: str
    memory_cases: int
    memory_bytes: int
    disk_bytes: int
    bytes_stored: int
    bytes_written: int


class Spool:
    """The spool of one device; safe for several threads.

    Args:
        path: the index's file; the segments lie beside it.
        key_path: the local key, made when it does not exist.
        capacity_bytes: payload bytes it holds at most, over all shares.
        memory_bytes: payload bytes that wait in memory while the disk cannot be written.
    """

    def __init__(self, path: Path, key_path: Path, capacity_bytes: int, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._disk = SpoolDisk(path, key_path, capacity_bytes)
        self._stock = Stock(capacity_bytes=capacity_bytes, memory_bytes=min(memory_bytes, capacity_bytes))
        self._payloads: dict[int, bytes] = {}
        self._floor = 1
        self._is_started = False
        self._alarm = ""
        self._retry_at = 0.0
        self._bytes_stored = 0

    @property
    def spool_id(self) -> bytes:
        """16 bytes, made with the spool."""
        return self._stock.spool_id

    @property
    def set_aside(self) -> Path | None:
        """What this process has set aside since it was damaged or its key was gone."""
        return self._disk.set_aside

    def start(self) -> None:
        """Open the spool, or make it. A disk that cannot be written now is an alarm, not an error.

        Raises:
            StorageError: the folder cannot be a state folder, or another process has this spool open.
        """
        with self._lock, translated(self._path, "open"), _without_collecting():
            try:
                found = self._disk.open()
                self._begin(found)
                self._is_started = True
                self._settle_on_disk([*found.missing], put=found.again)
            except _NEVER_BY_ITSELF:
                self._disk.close()
                raise
            except _DISK_FAILS as error:
                if not self._is_started:
                    self._begin(self._read_only())
                self._is_started = True
                self._fall_back(error)

    def stop(self) -> None:
        """Close the files; what waits in memory is lost, as the alarm said."""
        with self._lock:
            if self._is_started and not self._alarm:
                with suppress(*_DISK_FAILS):
                    self._disk.commit([], [], self._numbers(), durable=True)
            self._disk.close()
            self._is_started = False

    def append(self, payload: bytes, *, is_audit: bool, value: float) -> int | None:
        """Store one case; see `append_many`."""
        return self.append_many([NewCase(payload=payload, is_audit=is_audit, value=value)]).sequences[0]

    def append_many(self, cases: Sequence[NewCase]) -> Appended:
        """Store a group of cases with one sync. Where the answer says `is_durable` they are on the disk, else in memory.

        Raises:
            StorageError: the spool is not open.
        """
        with self._lock:
            self._require_started()
            items = self._stock.number(cases)
            payloads = {item.sequence: case.payload for item, case in zip(items, cases, strict=True)}
            if not self._alarm:
                taken = self._stock.take(items, in_memory=False)
                if self._store(taken, payloads):
                    return taken.appended(items, is_durable=True)
                self._stock.undo(taken)
            taken = self._stock.take(items, in_memory=True)
            self._payloads.update((item.sequence, payloads[item.sequence]) for item in taken.taken)
            for item in taken.evicted:
                self._payloads.pop(item.sequence, None)
            return taken.appended(items, is_durable=False)

    def read(self, sequence: int) -> bytes | None:
        """Return a waiting payload; None when it has left, or when its record turns out damaged (it is evicted then).

        Raises:
            StorageError: the disk cannot be read now.
        """
        with self._lock, translated(self._path, "read"):
            self._require_started()
            item = self._stock.disk.get(sequence)
            if item is None:
                return self._payloads.get(sequence)
            payload = self._disk.read(item)
            if payload is None:
                self._leave([sequence], "evicted:damaged")
                log.get("spool").error(ROW_DAMAGED, sequence=sequence, file=str(self._path))
            return payload

    def remove(self, sequences: Iterable[int]) -> int:
        """Delete what the region has confirmed; returns how many were there. On a disk that cannot be written it happens later."""
        with self._lock:
            self._require_started()
            return self._leave(sequences, "received")

    def tend(self, now: float) -> None:
        """Go back to the disk if it can be written again; to be called every second or so.

        Args:
            now: monotonic seconds.
        """
        with self._lock:
            if self._is_started and self._alarm and now >= self._retry_at:
                self._retry_at = now + RETRY_S
                self._return_to_disk()

    def waiting(self) -> list[Waiting]:
        """Return all that waits, oldest first."""
        with self._lock:
            return self._stock.waiting()

    def floor(self) -> int:
        """Return a sequence below which nothing will ever be sent again, noted durably: the lowest open one where the disk allows."""
        with self._lock:
            floor = self._stock.floor
            if self._is_started and not self._alarm and floor > self._floor:
                try:
                    self._disk.raise_floor(floor, self._numbers())
                    self._floor = floor
                except _DISK_FAILS as error:
                    self._fall_back(error)
            return self._floor

    def occupancy(self) -> tuple[int, int]:
        """Return how many cases wait and their payload bytes."""
        with self._lock:
            return len(self._stock), self._stock.size_bytes

    def evicted(self) -> int:
        """Return how many cases have given way or turned out damaged, ever."""
        with self._lock:
            return self._stock.evicted()

    def counts(self) -> SpoolCounts:
        """Return the bookkeeping, as `recount` would read it from the files."""
        with self._lock:
            items = self._stock.waiting()
            return summarise(self.spool_id, self._stock.counters, [(item.sequence, item.size) for item in items])

    def state(self) -> SpoolState:
        """Return how the spool stands."""
        with self._lock:
            return SpoolState(
                alarm=self._alarm,
                memory_cases=len(self._stock.memory),
                memory_bytes=self._stock.memory.size_bytes,
                disk_bytes=self._disk.size_bytes,
                bytes_stored=self._bytes_stored,
                bytes_written=self._disk.bytes_written,
            )

    def _begin(self, found: Found) -> None:
        first = found.next if found.is_new else found.next + GAP
        self._stock.begin(spool_id=found.spool_id, next_sequence=first, counters=found.counters, items=[*found.items, *found.missing])
        for item in found.again:
            self._stock.found_again(item)
        self._floor = found.floor

    def _read_only(self) -> Found:
        """Read what can be read of a disk that cannot be written; take a new spool's place where that is nothing."""
        leap = random.SystemRandom().randrange(GAP, LEAP)
        try:
            with tempfile.TemporaryDirectory(dir=_memory_folder()) as folder:
                found = self._disk.open_copy(copy_index(self._path, Path(folder)))
        except (OSError, *DAMAGE):
            spool_id = random.SystemRandom().randbytes(SPOOL_ID_BYTES)
            nothing: list[Waiting] = []
            return Found(spool_id=spool_id, next=1, floor=1, counters=Counter(), items=nothing, again=nothing, missing=nothing, is_new=True)
        return msgspec.structs.replace(found, next=found.next + leap)

    def _settle_on_disk(self, missing: Sequence[Waiting], *, put: Sequence[Waiting]) -> None:
        """Bring index and segments in step with the stock, and begin to write."""
        self._stock.leave((item.sequence for item in missing), "evicted:damaged")
        self._disk.note(put, [item.sequence for item in missing], self._numbers())
        self._disk.give_back(self._numbers())
        self._disk.begin_segment(self._stock.next, self._floor)
        self._disk.commit([], [], self._numbers(), durable=True)
        self._disk.keep_reserve()

    def _store(self, taken: Taken, payloads: dict[int, bytes]) -> bool:
        """Make a group durable; False when the disk did not take it."""
        cases = [(item, payloads[item.sequence]) for item in taken.staying]
        try:
            put = self._disk.append(cases, floor=self._floor) if cases else []
        except _DISK_FAILS as error:
            self._fall_back(error)
            return False
        self._bytes_stored += sum(item.size for item, _ in cases)
        try:
            self._disk.commit(put, taken.leaving, self._numbers())
            self._tidy()
        except _DISK_FAILS as error:
            self._fall_back(error)  # the group is durable all the same: it is found again behind the index's tail
        return True

    def _leave(self, sequences: Iterable[int], name: str) -> int:
        found = self._stock.leave(sequences, name)
        for item in found:
            self._payloads.pop(item.sequence, None)
        if found and not self._alarm:
            try:
                self._disk.commit([], [item.sequence for item in found], self._numbers())
                self._tidy()
            except _DISK_FAILS as error:
                self._fall_back(error)
        self._disk.forget(item.sequence for item in found)
        return len(found)

    def _tidy(self) -> None:
        lost = self._disk.tidy(self._stock.next, self._floor, self._numbers())
        if lost:
            self._stock.leave(lost, "evicted:damaged")
            self._disk.commit([], lost, self._numbers())

    def _return_to_disk(self) -> None:
        """Open the disk anew; memory knows better than its index what has left."""
        if not self._disk.is_worth_trying():
            return
        try:
            found = self._disk.open(spool_id=self.spool_id)
            if found.spool_id != self.spool_id:
                raise OSError("it holds another spool now: restart the agent")
            there = {item.sequence for item in (*found.items, *found.again)}
            lost = [item.sequence for item in self._stock.disk.waiting() if item.sequence not in there]
            self._stock.leave(lost, "evicted:damaged")
            self._stock.next = max(self._stock.next, found.next)
            gone = [sequence for sequence in (*there, *(item.sequence for item in found.missing)) if sequence not in self._stock.disk]
            kept = [item for item in found.again if item.sequence in self._stock.disk]
            self._disk.note(kept, gone, self._numbers())
            self._disk.give_back(self._numbers())
            self._disk.begin_segment(self._stock.next, self._floor)
            self._empty_memory()
            self._disk.keep_reserve()
        except (OSError, *DAMAGE, StorageError) as error:
            self._disk.stop_writing()
            self._alarm = str(error)
            return
        self._alarm = ""
        log.get("spool").warning(ON_DISK_AGAIN, file=str(self._path), cases=len(self._stock))

    def _empty_memory(self) -> None:
        moved = self._stock.to_disk()
        cases = [(item, self._payloads[item.sequence]) for item in moved.staying]
        try:
            put = self._disk.append(cases, floor=self._floor) if cases else []
            self._disk.commit(put, moved.leaving, self._numbers(), durable=True)
        except BaseException:
            self._stock.undo(moved)
            self._stock.memory.fill((*moved.taken, *moved.declined))
            raise
        self._bytes_stored += sum(item.size for item, _ in cases)
        self._payloads.clear()

    def _fall_back(self, error: Exception) -> None:
        self._disk.stop_writing()
        self._alarm = str(error) or type(error).__name__
        log.get("spool").error(IN_MEMORY, file=str(self._path), reason=self._alarm, remedy="Free some space, or check the disk.")

    def _numbers(self) -> dict[str, int]:
        return {**self._stock.counters, "next": self._stock.next, "floor": self._floor}

    def _require_started(self) -> None:
        if not self._is_started:
            raise StorageError(f"the spool {self._path} is not open.")


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Let the garbage collector rest: many small objects are made that all stay, and it would look at them again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _memory_folder() -> str | None:
    """Where a copy can be made while disks are read-only."""
    shared_memory = Path("/dev/shm")  # noqa: S108 - a private folder is made inside
    return str(shared_memory) if shared_memory.is_dir() else None
