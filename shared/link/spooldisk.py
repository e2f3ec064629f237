"""The spool on its disk: an index, a folder of segments, a key and a lock, opened, written and mended together.

    spool.db             the index                      spool.db-segments/   the cases, sealed
    spool.db-reserve     space for the index and small things when the disk is full
    spool.db.lock        held by the process that has the spool open

Rules, in order:
1. Records are synced before the index hears of them. What the index has not heard of is found again behind its `tail`.
2. A segment goes only after the index is synced without it.
3. A damaged index is set aside and made anew from the segments: no case is lost, counting begins again. Only where the key is gone
   are index and segments set aside together; then a spool with a new id begins.
4. A new segment is begun at every opening, with a header that says which sequences are free.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared import log
from shared.link.aside import set_aside
from shared.link.localkey import load_key, sync_folder
from shared.link.record import HEADER_BYTES, NONCE_BYTES, OVERHEAD_BYTES, Sealing, parse_header, scan
from shared.link.replay import replay
from shared.link.retention import Waiting
from shared.link.segments import Segments
from shared.link.space import SLACK, Place, Space
from shared.link.spoolindex import SCHEMA, Change, SpoolIndex
from shared.link.spoollock import hold
from shared.link.takeover import is_schema_1, take_over

SPOOL_ID_BYTES = 16
LARGEST_SEGMENT, SMALLEST_SEGMENT = 8 << 20, 64 << 10
PROBE_BYTES = 64 << 10
DAMAGE = (sqlite3.DatabaseError, InvalidTag, LookupError, ValueError, TypeError)
"""What reading damaged files raises."""
DAMAGED, KEY_LOST = "spool_set_aside_damaged", "spool_set_aside_key_lost"
_CHECK = b"terrace spool"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What lay on the disk.

    `next` is above every sequence that may ever have been given. `again` are cases the index had not heard of, `missing` are
    indexed ones whose segment is gone. `is_new`: there was nothing.
    """

    spool_id: bytes
    next: int
    floor: int
    counters: Counter[str]
    items: list[Waiting]
    again: list[Waiting]
    missing: list[Waiting]
    is_new: bool


class SpoolDisk:
    """The files of one spool.

    Args:
        path: the index; the others lie beside it.
        key_path: the local key.
        capacity_bytes: of the spool.
    """

    def __init__(self, path: Path, key_path: Path, capacity_bytes: int) -> None:
        self._path = path
        self._key_path = key_path
        self._segment_bytes = max(SMALLEST_SEGMENT, min(LARGEST_SEGMENT, capacity_bytes // 16))
        self._limit = int(capacity_bytes * SLACK) + 2 * self._segment_bytes
        self._index = SpoolIndex(path)
        self._segments = Segments(path.with_name(path.name + "-segments"))
        self._space = Space(limit_bytes=self._limit)
        self._sealing = Sealing(bytes(32), b"")
        self._tail = Place(0, 0)
        self._held: IO[bytes] | None = None
        self.set_aside: Path | None = None

    def open(self, *, spool_id: bytes | None = None) -> Found:
        """Open what is there, mend what is damaged, begin what is not there.

        Args:
            spool_id: the id a new spool gets; random without.

        Raises:
            StorageError: another process has this spool open.
            OSError: the disk is full, read-only or fails.
            sqlite3.Error: the same, as SQLite says it.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._held is None:
            self._held = hold(self._path.with_name(self._path.name + ".lock"))
        key, is_new_key = load_key(self._key_path)
        try:
            try:
                return self._read_index(key, spool_id)
            except DAMAGE as error:
                if isinstance(error, sqlite3.OperationalError) and not _is_damage(error):
                    raise
                is_key_lost = is_new_key or isinstance(error, InvalidTag)
                self._set_aside(KEY_LOST if is_key_lost else DAMAGED, str(error), with_segments=is_key_lost)
                return self._read_index(key, spool_id)
        except BaseException:
            self.stop_writing()
            raise

    def open_copy(self, index: Path) -> Found:
        """Read the spool through a copy of its index, where its own cannot be written; nothing but reading works then.

        Raises:
            OSError, sqlite3.Error, ValueError, InvalidTag: it cannot be read.
        """
        key = self._key_path.read_bytes()
        own, self._index = self._index, SpoolIndex(index)
        try:
            about = self._index.open()
            self._check(about, key)
            self._sealing = Sealing(key, about["spool_id"])
            return self._read(is_new=False)
        finally:
            self._index.close()
            self._index = own

    def begin_segment(self, first: int, floor: int) -> None:
        """Begin to write: make a segment in which all sequences from `first` on are free.

        Raises:
            OSError: the disk is full, read-only or fails.
        """
        number = max([*self._segments.numbers(), self._segments.active, 0]) + 1
        header = self._sealing.header(number=number, first=first, floor=floor, nonce=os.urandom(NONCE_BYTES))
        self._segments.begin(number, header)
        self._written()

    def append(self, cases: Sequence[tuple[Waiting, bytes]], *, floor: int) -> list[tuple[Waiting, Place]]:
        """Make cases durable; returns where they lie, for the next `commit`.

        Raises:
            OSError: the disk is full, read-only or fails.
        """
        records = [self._sealing.record(item, payload, floor=floor, nonce=os.urandom(NONCE_BYTES)) for item, payload in cases]
        return self._put([item for item, _ in cases], records)

    def commit(self, put: Sequence[tuple[Waiting, Place]], gone: Iterable[int], numbers: dict[str, int], *, durable: bool = False) -> None:
        """Tell the index what has come and what has left.

        Raises:
            sqlite3.Error: the disk is full, read-only or fails.
        """
        gone = list(gone)
        for sequence in gone:
            self._space.drop(sequence)
        numbers = {**numbers, "tail_segment": self._tail.segment, "tail_offset": self._tail.offset}
        self._index.commit(Change(put=list(put), gone=gone, numbers=numbers), durable=durable)

    def note(self, again: Iterable[Waiting], gone: Iterable[int], numbers: dict[str, int]) -> None:
        """Tell the index, durably, of cases that were found again in the segments, and of others that have left.

        Raises:
            sqlite3.Error: the disk is full, read-only or fails.
        """
        put = [(item, place) for item in again if (place := self._space.where(item.sequence)) is not None]
        self.commit(put, gone, numbers, durable=True)

    def raise_floor(self, floor: int, numbers: dict[str, int]) -> None:
        """Note durably, in index and segments, that nothing below `floor` will be sent again.

        Raises:
            OSError, sqlite3.Error: the disk is full, read-only or fails.
        """
        self._segments.append([self._sealing.floor_record(floor, nonce=os.urandom(NONCE_BYTES))])
        self._written()
        self.commit([], [], {**numbers, "floor": floor}, durable=True)

    def tidy(self, first: int, floor: int, numbers: dict[str, int]) -> list[int]:
        """Give back drained segments, rotate, and write the sparsest anew while they take too much.

        Returns:
            Cases that were lost to damage, found while a segment was copied.

        Raises:
            OSError, sqlite3.Error: the disk is full, read-only or fails.
        """
        self.give_back(numbers)
        is_worth_it = self._space.drained(active=self._segments.active, worth_bytes=self._segment_bytes // 4)
        if is_worth_it or self._segments.end >= self._segment_bytes:
            self.begin_segment(first, floor)
        lost: list[int] = []
        while (sparse := self._space.to_write_anew(active=self._segments.active)) is not None:
            lost += self._write_anew(sparse, numbers)
            if self._segments.end >= self._segment_bytes:
                self.begin_segment(first, floor)
        self.give_back(numbers)
        return lost

    def give_back(self, numbers: dict[str, int]) -> None:
        """Delete the segments in which nothing waits.

        Raises:
            OSError, sqlite3.Error: the disk is full, read-only or fails.
        """
        drained = self._space.drained(active=self._segments.active)
        if drained:
            self.commit([], [], numbers, durable=True)
            for number in drained:
                self._segments.remove(number)
                self._space.given_back(number)
            if self._space.is_empty:
                self._index.shrink()

    def read(self, item: Waiting) -> bytes | None:
        """Return a case's payload, None when its record is damaged or not there.

        Raises:
            OSError: the disk fails.
        """
        place = self._space.where(item.sequence)
        if place is None:
            return None
        try:
            data = self._segments.read(place, OVERHEAD_BYTES + item.size)
        except FileNotFoundError:
            return None
        return self._sealing.open(data, item.sequence)

    def forget(self, sequences: Iterable[int]) -> None:
        """Note that cases have left, while the index cannot be told; the next `open` is told by who knows."""
        for sequence in sequences:
            self._space.drop(sequence)

    def is_worth_trying(self) -> bool:
        """Whether something can be written, or segments could be given back to make room: cheap, unlike opening the disk."""
        probe = self._path.with_name(self._path.name + ".probe")
        try:
            with probe.open("wb", buffering=0) as file:
                file.write(bytes(PROBE_BYTES))
                os.fsync(file.fileno())
        except OSError as error:
            return error.errno != errno.EROFS and bool(self._space.drained(active=0))
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()
        return True

    def keep_reserve(self) -> None:
        """Keep space for the index."""
        self._index.keep_reserve()

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments."""
        return self._space.size_bytes

    @property
    def bytes_written(self) -> int:
        """Bytes written to segments, index and its log since the start, at most."""
        return self._segments.bytes_written + self._index.bytes_written

    def stop_writing(self) -> None:
        """Close the files but keep the lock; cases can still be read where the disk can."""
        self._index.close()
        self._segments.close()

    def close(self) -> None:
        """Close all files and let the lock go; harmless when none is open."""
        self.stop_writing()
        if self._held is not None:
            self._held.close()
            self._held = None

    def _put(self, items: Sequence[Waiting], records: list[bytes]) -> list[tuple[Waiting, Place]]:
        places = self._segments.append(records)
        self._written()
        for item, place in zip(items, places, strict=True):
            self._space.put(item.sequence, place, OVERHEAD_BYTES + item.size)
        return list(zip(items, places, strict=True))

    def _written(self) -> None:
        self._tail = Place(self._segments.active, self._segments.end)
        self._space.grew(*self._tail)

    def _write_anew(self, number: int, numbers: dict[str, int]) -> list[int]:
        data = memoryview(self._segments.load(number))
        moved = [(at, head) for at, head in scan(data, 0) if self._space.where(head.sequence) == Place(number, at)]
        put = self._put([head.item for _, head in moved], [bytes(data[at : at + OVERHEAD_BYTES + head.size]) for at, head in moved])
        lost = self._space.inside(number)  # behind a damaged head
        self.commit(put, lost, numbers, durable=True)
        self._segments.remove(number)
        self._space.given_back(number)
        return lost

    def _read_index(self, key: bytes, spool_id: bytes | None) -> Found:
        about = self._index.open()
        if is_schema_1(about):
            self._take_over(about, key)
            about = {**about, "schema": b"%d" % SCHEMA}
        if about:
            self._check(about, key)
            self._sealing = Sealing(key, about["spool_id"])
            return self._read(is_new=False)
        is_new = not self._segments.numbers()
        self._sealing = Sealing(key, self._identity(key, spool_id))
        self._identify(key)
        return self._read(is_new=is_new)

    def _check(self, about: dict[str, bytes], key: bytes) -> None:
        if about.get("schema") != b"%d" % SCHEMA or len(about.get("spool_id", b"")) != SPOOL_ID_BYTES:
            raise ValueError("it is not a spool of this version")
        AESGCM(key).decrypt(about["check"][:NONCE_BYTES], about["check"][NONCE_BYTES:], about["spool_id"])
        if "next" not in self._index.numbers():
            raise ValueError("it has lost its count")

    def _take_over(self, about: dict[str, bytes], key: bytes) -> None:
        for number in self._segments.numbers():
            self._segments.remove(number)  # of an attempt that was cut short: the cases still lie in the file
        self._sealing = Sealing(key, about["spool_id"])
        self.begin_segment(1, 0)

        def store(records: list[bytes]) -> list[Place]:
            if self._segments.end >= self._segment_bytes:
                self.begin_segment(1, 0)
            return self._segments.append(records)

        take_over(self._index.database, about, key=key, store=store)

    def _identity(self, key: bytes, spool_id: bytes | None) -> bytes:
        """Return the id the segments have, else the one wanted.

        Raises:
            InvalidTag: none of the segments was made under this key.
        """
        found = self._segments.numbers()
        for number in found:
            data = self._segments.read(Place(number, 0), HEADER_BYTES)
            header = parse_header(data)
            if header is not None and Sealing(key, header.spool_id).is_ours(data):
                return header.spool_id
        if found:
            raise InvalidTag("no segment was made under this key")
        return spool_id or os.urandom(SPOOL_ID_BYTES)

    def _identify(self, key: bytes) -> None:
        spool_id, nonce = self._sealing.spool_id, os.urandom(NONCE_BYTES)
        check = nonce + AESGCM(key).encrypt(nonce, _CHECK, spool_id)
        about = {"schema": b"%d" % SCHEMA, "spool_id": spool_id, "check": check}
        self._index.identify(about, {"next": 1, "floor": 1, "tail_segment": 0, "tail_offset": 0})
        sync_folder(self._path.parent)

    def _read(self, *, is_new: bool) -> Found:
        numbers = Counter[str](self._index.numbers())
        next_sequence, floor = numbers.pop("next"), numbers.pop("floor", 1)
        tail = Place(numbers.pop("tail_segment", 0), numbers.pop("tail_offset", 0))
        sizes = {number: self._segments.size(number) for number in self._segments.numbers()}
        space = Space(limit_bytes=self._limit)
        for number, size in sizes.items():
            space.grew(number, size)
        rows = self._index.rows()
        behind = ((number, self._segments.load(number)) for number in sizes if number >= tail.segment)
        found = replay(self._sealing, behind, tail=tail, floor=floor)
        for item, place in [*rows, *found.cases.values()]:
            if place.segment in sizes:
                space.put(item.sequence, place, OVERHEAD_BYTES + item.size)
        self._space, self._tail = space, max((Place(number, size) for number, size in sizes.items()), default=tail)
        return Found(
            spool_id=self._sealing.spool_id,
            next=max(next_sequence, found.first),
            floor=found.floor,
            counters=numbers,
            items=[item for item, place in rows if place.segment in sizes],
            again=[item for item, _ in found.cases.values()],
            missing=[item for item, place in rows if place.segment not in sizes],
            is_new=is_new,
        )

    def _set_aside(self, event: str, reason: str, *, with_segments: bool) -> None:
        self.stop_writing()
        self.set_aside = set_aside(self._path, ["", "-wal", "-shm", *(["-segments"] if with_segments else [])])
        log.get("spool").error(event, file=str(self._path), kept_as=str(self.set_aside), reason=reason)


def _is_damage(error: sqlite3.OperationalError) -> bool:
    return any(word in str(error) for word in ("malformed", "not a database", "no such column", "no such table", "has no column"))
