"""The durable spool: what the device has to send and nobody has confirmed yet. Owns one SQLite file and one key file.

Rules, in order:
1. What `append` has returned is on the disk (WAL, synchronous=FULL); a group of cases costs one transaction.
2. A sequence is used once in the life of the file: `next` is stored with the cases and survives their removal, and every
   start leaves a gap, so that a tail lost to a failing disk is never numbered again.
3. Payloads are sealed with AES-256-GCM under a local key file (0600), bound to spool and sequence; rotation of the link's keys
   never strands them.
4. What gives way when the capacity is reached is `retention`'s decision; every case that leaves unsent is counted by
   reason in the same transaction, so that `spooled = received + evicted + waiting` can be recounted from the file.
5. A damaged file, or one whose key is gone, is set aside under another name and a new spool with a new id begins. A damaged
   row is evicted. Nothing of this stops the device.
6. One process has the spool open; `recount` reads beside it.

A full disk is a StorageError of `append`: the case is not taken, what was taken before stays.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared import log
from shared.errors import StorageError
from shared.link.localkey import load_key, sync_folder
from shared.link.recount import SpoolCounts, summarise, translated
from shared.link.retention import Shelf, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

SCHEMA = 1
GAP = 1 << 16
"""Sequences left out at a start; more than a write-ahead log can hold."""
SPOOL_ID_BYTES = 16
_NONCE_BYTES = 12
_CHECK = b"terrace spool"
DAMAGED, KEY_LOST = "spool_set_aside_damaged", "spool_set_aside_key_lost"
_SET_COUNTER = "insert into counters values (?, ?) on conflict do update set n = excluded.n"
_TABLES = """
create table if not exists about (name text primary key, value blob not null);
create table if not exists counters (name text primary key, n integer not null);
create table if not exists cases (
    sequence integer primary key, is_audit integer not null, value real not null,
    size integer not null, body blob not null
);
"""


class NewCase(msgspec.Struct, frozen=True, kw_only=True):
    """Something to spool: an encoded case, and what it is worth."""

    payload: bytes
    is_audit: bool = False
    value: float = 0.0


class Appended(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a group: one sequence per case (None where it had to give way itself), and what gave way."""

    sequences: tuple[int | None, ...]
    evicted: tuple[int, ...]


class Spool:
    """The spool of one device; safe for several threads.

    Args:
        path: the SQLite file.
        key_path: the local key, made when it does not exist.
        capacity_bytes: payload bytes it holds at most, over all shares.
    """

    def __init__(self, path: Path, key_path: Path, capacity_bytes: int) -> None:
        self._path = path
        self._key_path = key_path
        self._capacity = capacity_bytes
        self._lock = threading.RLock()
        self._held: IO[bytes] | None = None
        self._db: sqlite3.Connection | None = None
        self._aead = AESGCM(bytes(32))
        self.spool_id = b""
        self._shelf = Shelf(capacity_bytes=capacity_bytes, key=b"")
        self._next = 1
        self._counters: Counter[str] = Counter()
        self.set_aside: Path | None = None

    def start(self) -> None:
        """Open the file, or make it; set a damaged one aside.

        Raises:
            StorageError: the folder cannot be written, or another process has this spool open.
        """
        with self._lock, translated(self._path, "open"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._held = _hold(self._path.with_name(self._path.name + ".lock"))
            key, is_new = load_key(self._key_path)
            self._aead = AESGCM(key)
            try:
                self._open()
            except (sqlite3.DatabaseError, InvalidTag, LookupError, ValueError, TypeError) as error:
                if isinstance(error, sqlite3.OperationalError) and not _is_damage(error):
                    raise
                self._set_aside(KEY_LOST if is_new or isinstance(error, InvalidTag) else DAMAGED, str(error))
                self._open()

    def stop(self) -> None:
        """Close the file."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None
            if self._held is not None:
                self._held.close()
                self._held = None

    def append(self, payload: bytes, *, is_audit: bool, value: float) -> int | None:
        """Store one case durably; see `append_many`."""
        return self.append_many([NewCase(payload=payload, is_audit=is_audit, value=value)]).sequences[0]

    def append_many(self, cases: Sequence[NewCase]) -> Appended:
        """Store a group of cases in one transaction; they are on the disk when this returns.

        Raises:
            StorageError: the disk is full or fails; none of the group is stored.
        """
        sequences: list[int | None] = []
        evicted: list[int] = []
        with self._transaction("append") as db:
            for case in cases:
                item = Waiting(sequence=self._next, size=len(case.payload), is_audit=case.is_audit, value=case.value)
                victims = self._shelf.victims(item)
                self._count("declined" if victims is None else "spooled", item)
                if victims is not None:
                    self._evict(db, victims, "full")
                    evicted += victims
                    self._insert(db, item, case.payload)
                sequences.append(None if victims is None else item.sequence)
        return Appended(sequences=tuple(sequences), evicted=tuple(evicted))

    def read(self, sequence: int) -> bytes | None:
        """Return a waiting payload; None when it has left, or when its row turns out damaged (it is evicted then)."""
        with self._lock, translated(self._path, "read"):
            row = self._database().execute("select body from cases where sequence = ?", (sequence,)).fetchone()
        if row is None:
            return None
        try:
            return self._aead.decrypt(row[0][:_NONCE_BYTES], row[0][_NONCE_BYTES:], self._bound_to(sequence))
        except (InvalidTag, TypeError, ValueError):
            with self._transaction("evict a damaged row") as db:
                self._evict(db, [sequence], "damaged")
            log.get("spool").error("spool_row_damaged", sequence=sequence, file=str(self._path))
            return None

    def remove(self, sequences: Iterable[int]) -> int:
        """Delete what the region has confirmed; returns how many were there.

        Raises:
            StorageError: the disk fails; nothing is removed.
        """
        wanted = [sequence for sequence in sequences if sequence in self._shelf]
        if not wanted:
            return 0
        with self._transaction("remove") as db:
            found = self._shelf.remove(wanted)
            db.executemany("delete from cases where sequence = ?", [(item.sequence,) for item in found])
            for item in found:
                self._count("received", item)
        return len(found)

    def waiting(self) -> list[Waiting]:
        """Return all that waits, oldest first."""
        with self._lock:
            return self._shelf.waiting()

    def floor(self) -> int:
        """Return the lowest open sequence: below it nothing will ever be sent again."""
        with self._lock:
            lowest = self._shelf.lowest
            return self._next if lowest is None else lowest

    def occupancy(self) -> tuple[int, int]:
        """Return how many cases wait and their payload bytes."""
        with self._lock:
            return len(self._shelf), self._shelf.size_bytes

    def evicted(self) -> int:
        """Return how many cases have given way or turned out damaged, ever."""
        with self._lock:
            return sum(n for name, n in self._counters.items() if name.startswith("evicted:"))

    def counts(self) -> SpoolCounts:
        """Return the bookkeeping, as `recount` would read it from the file."""
        with self._lock:
            items = self._shelf.waiting()
            return summarise(self.spool_id, self._counters, [(item.sequence, item.size) for item in items])

    def _open(self) -> None:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            db.execute("pragma journal_mode = wal")
            db.execute("pragma synchronous = full")
            db.execute("pragma journal_size_limit = 16777216")
            if db.execute("pragma quick_check(1)").fetchone()[0] != "ok":
                raise ValueError("its pages are inconsistent")
            db.executescript(_TABLES)
            self._db = db
            self._identify(db)
            self._reload(db)
            if self._next > 1:
                self._next += GAP
        except BaseException:
            self._db = None
            db.close()
            raise

    def _identify(self, db: sqlite3.Connection) -> None:
        about = dict(db.execute("select name, value from about"))
        if not about:
            self.spool_id = os.urandom(SPOOL_ID_BYTES)
            nonce = os.urandom(_NONCE_BYTES)
            db.execute("begin immediate")
            check = nonce + self._aead.encrypt(nonce, _CHECK, self.spool_id)
            rows = [("schema", b"%d" % SCHEMA), ("spool_id", self.spool_id), ("check", check)]
            db.executemany("insert into about values (?, ?)", rows)
            db.execute("insert into counters values ('next', 1)")
            db.execute("commit")
            sync_folder(self._path.parent)
            return
        if about.get("schema") != b"%d" % SCHEMA or len(about.get("spool_id", b"")) != SPOOL_ID_BYTES:
            raise ValueError("it is not a spool of this version")
        self.spool_id = about["spool_id"]
        self._aead.decrypt(about["check"][:_NONCE_BYTES], about["check"][_NONCE_BYTES:], self.spool_id)

    def _reload(self, db: sqlite3.Connection) -> None:
        counters = Counter[str](dict(db.execute("select name, n from counters")))
        if "next" not in counters:
            raise ValueError("it has lost its count")
        self._next = counters.pop("next")
        self._counters = counters
        self._shelf = Shelf(capacity_bytes=self._capacity, key=self.spool_id)
        for sequence, is_audit, value, size in db.execute("select sequence, is_audit, value, size from cases"):
            self._shelf.add(Waiting(sequence=sequence, size=size, is_audit=bool(is_audit), value=value))

    def _set_aside(self, event: str, reason: str) -> None:
        number = 1
        while (aside := self._path.with_name(f"{self._path.name}.aside-{number}")).exists():
            number += 1
        for suffix in ("", "-wal", "-shm"):
            file = self._path.with_name(self._path.name + suffix)
            if file.exists():
                file.rename(aside.with_name(aside.name + suffix))
        self.set_aside = aside
        log.get("spool").error(event, file=str(self._path), kept_as=str(aside), reason=reason)

    def _insert(self, db: sqlite3.Connection, item: Waiting, payload: bytes) -> None:
        nonce = os.urandom(_NONCE_BYTES)
        body = nonce + self._aead.encrypt(nonce, payload, self._bound_to(item.sequence))
        row = (item.sequence, item.is_audit, item.value, item.size, body)
        db.execute("insert into cases values (?, ?, ?, ?, ?)", row)
        self._shelf.add(item)
        self._next += 1

    def _evict(self, db: sqlite3.Connection, sequences: Iterable[int], reason: str) -> None:
        for item in self._shelf.remove(sequences):
            db.execute("delete from cases where sequence = ?", (item.sequence,))
            self._count(f"evicted:{reason}", item)

    def _count(self, name: str, item: Waiting) -> None:
        self._counters[f"{name}:{item.share.name.lower()}"] += 1

    @contextmanager
    def _transaction(self, action: str) -> Iterator[sqlite3.Connection]:
        """Run one durable transaction; the index in memory follows the file, also when it fails."""
        with self._lock, translated(self._path, action):
            db = self._database()
            before, next_before = dict(self._counters), self._next
            db.execute("begin immediate")
            try:
                yield db
                changed = [(name, n) for name, n in self._counters.items() if before.get(name) != n]
                db.executemany(_SET_COUNTER, [*changed, ("next", self._next)])
                db.execute("commit")
            except BaseException:
                if db.in_transaction:
                    db.execute("rollback")
                self._reload(db)
                self._next = next_before
                raise

    def _database(self) -> sqlite3.Connection:
        if self._db is None:
            raise StorageError(f"the spool {self._path} is not open.")
        return self._db

    def _bound_to(self, sequence: int) -> bytes:
        return self.spool_id + sequence.to_bytes(8, "big")


def _hold(path: Path) -> IO[bytes]:
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        remedy = "Is an agent already running with this state folder?"
        raise StorageError(f"another process has the spool beside {path} open.", remedy) from None
    return file


def _is_damage(error: sqlite3.OperationalError) -> bool:
    return any(word in str(error) for word in ("malformed", "not a database", "no such column", "no such table", "has no column"))
