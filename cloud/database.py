"""The cloud's SQLite file: one connection per process, WAL, synchronous=FULL, foreign errors translated.

The API process and the round worker open the same file; SQLite's own locks order their writes. What a transaction wrote is
on disk when it returns, so a kill -9 leaves either all of it or nothing.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared.errors import StorageError
from shared.transaction import transaction

BUSY_S = 20.0


class Database:
    """A part: opens the file on start, closes it on stop.

    Args:
        path: the file; its folder is made with mode 0700.
        schemas: `CREATE … IF NOT EXISTS` statements of those who keep tables here.
    """

    def __init__(self, path: Path, schemas: Sequence[str]) -> None:
        self._path = path
        self._schemas = schemas
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def start(self) -> None:
        """Open the file and make the tables that are missing.

        Raises:
            StorageError: the file cannot be opened or is damaged.
        """
        with translated(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            connection = sqlite3.connect(self._path, timeout=BUSY_S, check_same_thread=False, isolation_level=None)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            for schema in self._schemas:
                connection.executescript(schema)
        self._path.chmod(0o600)
        self._connection = connection

    def stop(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run statements as one durable unit; an exception rolls all of them back.

        Raises:
            StorageError: the disk is full or the file damaged.
        """
        with self._lock, translated(self._path), transaction(self._open()) as connection:
            yield connection

    def rows(self, statement: str, arguments: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return all rows of a query.

        Raises:
            StorageError: the file cannot be read.
        """
        with self._lock, translated(self._path):
            return self._open().execute(statement, arguments).fetchall()

    def row(self, statement: str, arguments: Sequence[Any] = ()) -> sqlite3.Row | None:
        """Return the first row of a query, or None."""
        found = self.rows(statement, arguments)
        return found[0] if found else None

    def version(self) -> tuple[int, int]:
        """Return what is another after every change of the file, by this process or another.

        Raises:
            StorageError: the file cannot be read.
        """
        with self._lock, translated(self._path):
            connection = self._open()
            return int(connection.execute("PRAGMA data_version").fetchone()[0]), connection.total_changes

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StorageError(f"the registry {self._path} is closed.")
        return self._connection


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's and the file system's errors into a StorageError that names the file."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        remedy = "Free space on its disk." if "full" in str(error) else "If it is damaged, restore it from a backup."
        raise StorageError(f"the registry {path} failed: {error}.", remedy) from error
    except OSError as error:
        raise StorageError(f"the registry {path} cannot be opened: {error}.", "Check the state folder's owner and disk.") from error
