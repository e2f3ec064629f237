"""The spool's index: a small SQLite file saying which cases wait and where their records lie, and what was counted.

It is not the truth about cases, their segments are: a transaction here is not synced, and one that a power cut takes back is made
good from the segments behind the noted `tail`. Rules, in order:
1. It is synced before something rests on it that the segments do not know: that a segment may go, or that the floor has risen.
2. Its pages are small and its log is written over again and again, since every byte wears the flash.
3. A full disk still has room for it: a reserve is let go, and made again when there is space.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

from shared.link.retention import Waiting
from shared.link.space import Place

SCHEMA = 2
PAGE_BYTES = 1024
RESERVE_BYTES = 1 << 20
COMMITS_PER_CHECKPOINT = 256
_FRAME_BYTES = 24
_SET_NUMBER = "insert into counters values (?, ?) on conflict do update set n = excluded.n where n != excluded.n"
_ODD_ROWS = """
select count(*) from places where typeof(is_audit) != 'integer' or typeof(value) != 'real' or typeof(size) != 'integer'
    or typeof(segment) != 'integer' or typeof(offset) != 'integer' or size < 0 or offset < 0
"""
_TABLES = """
create table if not exists about (name text primary key, value blob not null) without rowid;
create table if not exists counters (name text primary key, n integer not null) without rowid;
create table if not exists places (
    sequence integer primary key, is_audit integer not null, value real not null, size integer not null,
    segment integer not null, offset integer not null
);
"""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction: cases that came, with their places (or lie elsewhere now), cases that left, counters that may have changed."""

    put: list[tuple[Waiting, Place]] = []
    gone: Iterable[int] = ()
    numbers: dict[str, int] = {}


class SpoolIndex:
    """The index file of one spool.

    Args:
        path: the SQLite file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reserve = path.with_name(path.name + "-reserve")
        self._db: sqlite3.Connection | None = None
        self._page_bytes = PAGE_BYTES
        self._commits = 0
        self._carried_frames = 0
        self.bytes_written = 0

    def open(self) -> dict[str, bytes]:
        """Open the file, or make it; returns what it says about itself, nothing when it is new.

        Raises:
            sqlite3.Error: it is damaged, or the disk fails.
            ValueError: its pages are inconsistent.
        """
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=1)
        try:
            db.execute(f"pragma page_size = {PAGE_BYTES}")
            db.execute("pragma auto_vacuum = incremental")
            db.execute("pragma journal_mode = wal")
            db.execute("pragma synchronous = normal")
            db.execute("pragma wal_autocheckpoint = 0")
            db.execute("pragma journal_size_limit = 1048576")
            if db.execute("pragma quick_check(1)").fetchone()[0] != "ok":
                raise ValueError("its pages are inconsistent")
            db.executescript(_TABLES)
            self._page_bytes = int(db.execute("pragma page_size").fetchone()[0])
            about = dict(db.execute("select name, value from about"))
        except BaseException:
            db.close()
            raise
        self._db, self._commits, self._carried_frames = db, 0, 0
        return about

    def identify(self, about: dict[str, bytes], numbers: dict[str, int]) -> None:
        """Write into a new index, durably, whose it is."""
        db = self.database
        db.execute("pragma synchronous = full")
        db.execute("begin immediate")
        db.executemany("insert or replace into about values (?, ?)", about.items())
        db.executemany(_SET_NUMBER, numbers.items())
        db.execute("commit")
        db.execute("pragma synchronous = normal")

    def numbers(self) -> dict[str, int]:
        """Return the counters, and where the index stands: next, floor, tail_segment, tail_offset."""
        return dict(self.database.execute("select name, n from counters"))

    def rows(self) -> list[tuple[Waiting, Place]]:
        """Return the cases that wait, and where they lie.

        Raises:
            sqlite3.Error, ValueError: it is damaged.
        """
        (odd,) = self.database.execute(_ODD_ROWS).fetchone()
        if odd:
            raise ValueError(f"{odd} of its rows hold what was never written")
        new_place = tuple.__new__  # half the time of Place(...), and there may be 100,000
        found = self.database.execute("select sequence, is_audit, value, size, segment, offset from places")
        return [
            (Waiting(sequence=sequence, size=size, is_audit=is_audit != 0, value=value), new_place(Place, (segment, offset)))
            for sequence, is_audit, value, size, segment, offset in found
        ]

    def commit(self, change: Change, *, durable: bool = False) -> None:
        """Write one transaction; only a durable one, and what came before it, survives a power cut for sure.

        Raises:
            sqlite3.Error: the disk is full, even without the reserve, is read-only or fails.
        """
        try:
            self._commit(change, durable=durable)
        except sqlite3.OperationalError as error:
            if "full" not in str(error) or not self.release_reserve():
                raise
            self._commit(change, durable=durable)
        self._commits += 1
        if self._commits % COMMITS_PER_CHECKPOINT == 0:
            self._move_log()

    def shrink(self) -> None:
        """Give free pages and the log back."""
        self.database.executescript("pragma incremental_vacuum")  # execute() would take one step, which frees one page
        self._move_log()
        self.database.execute("pragma wal_checkpoint(truncate)").fetchall()
        self._carried_frames = 0

    def keep_reserve(self) -> None:
        """Make the reserve where there is none and the disk has room for it twice."""
        if self._reserve.exists() or shutil.disk_usage(self._path.parent).free < 2 * RESERVE_BYTES:
            return
        try:
            with self._reserve.open("xb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        except OSError:
            self.release_reserve()

    def release_reserve(self) -> bool:
        """Give the reserve's space to whoever needs it; returns whether there was one."""
        try:
            self._reserve.unlink()
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the file; harmless when it is not open."""
        if self._db is not None:
            self._db.close()
            self._db = None

    @property
    def database(self) -> sqlite3.Connection:
        """The open file."""
        if self._db is None:
            raise sqlite3.ProgrammingError("the index is not open")
        return self._db

    def _move_log(self) -> None:
        """Move the log into the file as far as nobody reads it, and count what was written since the last time, at most."""
        db = self.database
        _, frames, moved = db.execute("pragma wal_checkpoint(passive)").fetchone()
        written = max(0, frames - self._carried_frames)
        self._carried_frames = 0 if moved == frames else frames
        pages = min(written, int(db.execute("pragma page_count").fetchone()[0]))
        self.bytes_written += written * (self._page_bytes + _FRAME_BYTES) + pages * self._page_bytes

    def _commit(self, change: Change, *, durable: bool) -> None:
        db = self.database
        if durable:
            db.execute("pragma synchronous = full")
        db.execute("begin immediate")
        try:
            rows = [(item.sequence, item.is_audit, item.value, item.size, *place) for item, place in change.put]
            db.executemany("insert or replace into places values (?, ?, ?, ?, ?, ?)", rows)
            db.executemany("delete from places where sequence = ?", [(sequence,) for sequence in change.gone])
            db.executemany(_SET_NUMBER, change.numbers.items())
            db.execute("commit")
        except BaseException:
            if db.in_transaction:
                db.execute("rollback")
            raise
        finally:
            if durable:
                db.execute("pragma synchronous = normal")


def copy_index(path: Path, folder: Path) -> Path:
    """Copy an index with its log to another folder, to be read where its own cannot be written.

    Raises:
        OSError: there is none, or no room.
    """
    copy = folder / path.name
    for suffix in ("", "-wal"):
        source = path.with_name(path.name + suffix)
        if source.exists() or not suffix:
            shutil.copyfile(source, copy.with_name(copy.name + suffix))
    return copy
