"""One transaction of an SQLite file: all of it or nothing."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, *, write: bool = True) -> Iterator[sqlite3.Connection]:
    """Commit at the end, roll back on any exception, a failed commit's too.

    Args:
        connection: opened with `isolation_level=None`.
        write: take the writer's lock at once, so that two writers wait for one another and neither fails half-way.

    Raises:
        sqlite3.Error: the file is full, damaged or locked by another; nothing of the transaction is kept.
    """
    connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have rolled back already
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise
