"""One transaction of an SQLite file: all of it or nothing."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from shared.clock import monotonic

BUSY = 5
"""SQLITE_BUSY, which Python names from 3.11 on."""


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, *, write: bool = True, patience_s: float = 0.0) -> Iterator[sqlite3.Connection]:
    """Commit at the end, roll back on any exception, a failed commit's too.

    Args:
        connection: opened with `isolation_level=None`.
        write: take the writer's lock at once, so that two writers wait for one another and neither fails half-way.
        patience_s: how long to wait for it beyond SQLite's own timeout, which is begun again and again until then.

    Raises:
        sqlite3.Error: the file is full, damaged or locked by another; nothing of the transaction is kept.
    """
    _begin(connection, "BEGIN IMMEDIATE" if write else "BEGIN", monotonic() + patience_s)
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have rolled back already
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


def _begin(connection: sqlite3.Connection, statement: str, deadline: float) -> None:
    while True:
        try:
            connection.execute(statement)
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", BUSY) & 0xFF != BUSY or monotonic() >= deadline:
                raise
        else:
            return
