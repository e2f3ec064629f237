"""The audit log of a daemon: what people and the machine itself did that matters for security, in a hash chain on disk (auditchain.py).

The newest head stands in the file a second time, so that entries cut off the end are noticed too; whoever can rewrite the whole file can
rewrite both, and only a head noted elsewhere shows that (`verify`).

Example:
    AuditLog(state / "audit.db").append("anna", "round.requested", "round 3")
"""

from __future__ import annotations

import getpass
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared import clock
from shared.auditchain import START, Entry, Head, canonical, link, verify
from shared.errors import ProtocolError, StorageError
from shared.transaction import transaction

BUSY_S = 10.0
MOST_AT_ONCE = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    number INTEGER PRIMARY KEY, at REAL NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS head (one INTEGER PRIMARY KEY CHECK (one = 1), count INTEGER NOT NULL, hash TEXT NOT NULL) STRICT;
"""


class AuditLog:
    """The log in a file; daemon and commands may append at the same time.

    Args:
        path: the SQLite file, mode 0600; made at the first entry.
        now: the clock of entries.
    """

    def __init__(self, path: Path, *, now: clock.Clock = clock.wall) -> None:
        self._path = path
        self._now = now

    def append(self, who: str, action: str, subject: str, detail: dict[str, Any] | None = None, *, now: float | None = None) -> Entry:
        """Write down what was done; it is on disk when this returns.

        Args:
            who: the person, the token's label, or the part of the daemon.
            action: what was done, as `noun.verb`.
            subject: what it was done to.
            detail: more of it, JSON of at most 2 KB; never secrets or pictures.
            now: Unix seconds, where it was another time than now.

        Raises:
            ProtocolError: the detail is too long.
            StorageError: the file cannot be written.
        """
        at = self._now() if now is None else now
        with self._open(write=True) as file:
            count, last = file.execute("SELECT count, hash FROM head").fetchone() or (0, START)
            entry = link(last, count + 1, at, who, action, subject, detail or {})
            values = (entry.number, at, entry.who, entry.action, entry.subject, canonical(entry.detail).decode(), entry.hash)
            file.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)", values)
            file.execute("INSERT OR REPLACE INTO head VALUES (1, ?, ?)", (entry.number, entry.hash))
        return entry

    def entries(self, limit: int = 100, before: int | None = None) -> list[Entry]:
        """Return the newest entries, newest first.

        Args:
            limit: how many, at most 500.
            before: only those with a lower number.

        Raises:
            StorageError: the file cannot be read.
        """
        statement = "SELECT * FROM entry WHERE number < ? ORDER BY number DESC LIMIT ?"
        with self._open() as file:
            rows = file.execute(statement, (before if before is not None else 2**62, max(1, min(limit, MOST_AT_ONCE)))).fetchall()
        return [_entry(row) for row in rows]

    def head(self) -> Head:
        """Return where the chain ends, as it was written.

        Raises:
            StorageError: the file cannot be read.
        """
        with self._open() as file:
            row = file.execute("SELECT count, hash FROM head").fetchone()
        return Head(count=row[0], hash=row[1]) if row is not None else Head(count=0, hash=START)

    def verify(self, *noted: Head) -> tuple[int, str]:
        """Return the number of entries and the last hash when every entry is what was written.

        Args:
            noted: heads noted earlier in another place; the chain must go through each of them.

        Raises:
            ProtocolError: naming the first bad entry.
            StorageError: the file cannot be read.
        """
        with self._open() as file:
            head = verify(_entry(row) for row in file.execute("SELECT * FROM entry ORDER BY number"))
            said = file.execute("SELECT count, hash FROM head").fetchone() or (0, START)
            found = [(one, file.execute("SELECT hash FROM entry WHERE number = ?", (one.count,)).fetchone()) for one in noted]
        if (head.count, head.hash) != said:
            raise ProtocolError(f"the chain ends at entry {head.count}, but {said[0]} were written: entries were cut off or added.")
        for one, row in found:
            if one.count and row != (one.hash,):
                words = "missing: the log was cut off" if row is None else "not the one that was noted: the log was rewritten"
                raise ProtocolError(f"audit entry {one.count} is {words}.")
        return head.count, head.hash

    @contextmanager
    def _open(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            if not self._path.exists():
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._path.touch(mode=0o600)
            connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
            try:
                connection.execute("PRAGMA synchronous = FULL")
                connection.executescript(_SCHEMA)
                with transaction(connection, write=write):
                    yield connection
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"the audit log {self._path} cannot be used: {error}.", "Free space on its disk; do not edit it.") from error


def owner() -> str:
    """Return whom the log names for a command on this machine."""
    return f"{getpass.getuser()} on this machine"


def _entry(row: tuple[Any, ...]) -> Entry:
    number, at, who, action, subject, detail, digest = row
    try:
        parsed = json.loads(detail)
    except ValueError:
        parsed = {"unreadable": detail}
    return Entry(number=number, at=at, who=who, action=action, subject=subject, detail=parsed, hash=digest)
