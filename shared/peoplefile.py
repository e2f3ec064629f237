"""The SQLite file of a daemon's people: accounts, invitations and sessions. Mode 0600; daemon and commands may use it at the same time.

Sessions lie beside the accounts, so that removing an account ends its sessions in the same transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import StorageError
from shared.transaction import transaction

BUSY_S = 10.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS account (
    name TEXT PRIMARY KEY, role INTEGER NOT NULL, salt BLOB NOT NULL, digest BLOB NOT NULL,
    n INTEGER NOT NULL, r INTEGER NOT NULL, p INTEGER NOT NULL, created_at REAL NOT NULL, signed_in_at REAL NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS invitation (
    hash BLOB PRIMARY KEY, role INTEGER NOT NULL, label TEXT NOT NULL, created_at REAL NOT NULL, expires_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS failure (name TEXT PRIMARY KEY, count INTEGER NOT NULL, last_at REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS session (
    hash BLOB PRIMARY KEY, account TEXT NOT NULL REFERENCES account (name) ON DELETE CASCADE,
    csrf TEXT NOT NULL, opened_at REAL NOT NULL, used_at REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS session_account ON session (account);
"""


@contextmanager
def opened(path: Path, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """Yield a connection within one transaction: committed at the end, rolled back on an error.

    Args:
        path: the file; made with its tables where it is not there.
        write: whether something will be written; writers wait for one another.

    Raises:
        StorageError: the file cannot be opened, read or written.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            if connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'session_account'").fetchone() == (0,):
                connection.executescript(SCHEMA)
            with transaction(connection, write=write):
                yield connection
        finally:
            connection.close()
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"the file of people {path} cannot be used: {error}.", "Free space, or correct or remove the file.") from error
