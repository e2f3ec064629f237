"""One SQLite file in WAL mode with synchronous=FULL: opening, checking, transactions, and its errors in our words.

What a committed transaction wrote is on disk. A damaged file is never overwritten: the error names it and what to do.
One connection, guarded by a lock; a transaction holds the lock, so transactions of several threads follow one another. Those of several
processes do too. SQLite waits for its lock with pauses that grow to 100 ms, so that of three busy writers one may wait for seconds; here
it is told to give up after 10 ms and asked again, which keeps every writer's turn within some hundred.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from shared.errors import StorageError
from shared.transaction import transaction

CHECKED_BYTES = 256 << 20
"""Files up to this size are checked page by page at the start."""
TURN_MS, LONGEST_WAIT_S = 10, 10.0
"""SQLite's own timeout while the file is in use; how long a writer waits for its turn."""
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


class Database:
    """A SQLite file.

    Args:
        path: the file; made with mode 0600 when missing.
        schema: statements that make the tables where they are missing.
        read_only: open an existing file for looking only.
        is_checked: another process of ours has just opened it and looked through its pages.
    """

    def __init__(self, path: Path, schema: str, *, read_only: bool = False, is_checked: bool = False) -> None:
        self.path = path
        self._schema = schema
        self._read_only = read_only
        self._is_checked = is_checked
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def start(self) -> None:
        """Open the file and check it.

        Raises:
            StorageError: missing (when read only), damaged, not ours, or not writable.
        """
        try:
            self._open()
        except sqlite3.Error as error:
            self.stop()
            raise self._explained(error) from error
        except OSError as error:
            raise StorageError(f"{self.path} cannot be opened: {error.strerror}.", "Correct its owner or the state folder.") from error

    def stop(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the lock and a transaction: committed at the end, rolled back on any exception.

        Raises:
            StorageError: the disk is full, the file is damaged or closed; nothing of the transaction is kept.
        """
        with self._lock:
            connection = self._connection
            if connection is None:
                raise StorageError(f"{self.path} is closed.")
            try:
                with transaction(connection, patience_s=LONGEST_WAIT_S):
                    yield connection
            except sqlite3.Error as error:
                raise self._explained(error) from error

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run a query and return all its rows.

        Raises:
            StorageError: the file is damaged or closed.
        """
        with self._lock:
            if self._connection is None:
                raise StorageError(f"{self.path} is closed.")
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise self._explained(error) from error

    def _open(self) -> None:
        if self._read_only:
            if not self.path.exists():
                raise StorageError(f"there is no file {self.path}.", "Check `state` in the configuration.")
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.touch(mode=0o600)
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=LONGEST_WAIT_S)
        self._connection = connection
        if self._read_only:
            connection.execute("PRAGMA query_only=ON")
        else:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA secure_delete=ON")  # erased means erased, in the file too
        self._check(connection)
        if not self._read_only:
            connection.executescript(self._schema)
            connection.execute(f"PRAGMA busy_timeout={TURN_MS}")

    def _check(self, connection: sqlite3.Connection) -> None:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not self._is_checked and self.path.stat().st_size <= CHECKED_BYTES:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict is None or verdict[0] != "ok":
                raise sqlite3.DatabaseError(str(verdict[0] if verdict else "no verdict"))

    def _explained(self, error: sqlite3.Error) -> StorageError:
        code = getattr(error, "sqlite_errorcode", None)
        said = " ".join(str(error).split())
        if code is not None and code & 0xFF in _FULL:
            return StorageError(f"{self.path} cannot be written: {said}.", "Make space on its disk; what has no receipt is sent again.")
        if code is not None and code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return StorageError(f"{self.path} is in use by another process.", "Stop the other daemon with this state folder.")
        if code is not None and code & 0xFF in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
            return StorageError(f"{self.path} cannot be written: {said}.", "Correct its owner or the state folder.")
        return StorageError(
            f"{self.path} is damaged: {said}.",
            "Restore it from a backup, or move it aside together with its -wal and -shm files to start an empty one.",
        )


def count(connection: sqlite3.Connection, name: str, amount: int) -> None:
    """Add to a durable counter inside a transaction."""
    if amount:
        connection.execute(
            "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value", (name, amount)
        )
