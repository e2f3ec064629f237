"""The authority's ledger: every certificate it has issued and every one it has revoked, in one SQLite file.

A row is committed before its certificate leaves the authority, so there is never a certificate that cannot be found and revoked;
a crash in between leaves a row whose certificate nobody has. Revoking keeps the row. Writers exclude one another (`writing`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from shared.errors import StorageError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS certificate (
    serial TEXT PRIMARY KEY, issuer TEXT NOT NULL, tier TEXT NOT NULL, region TEXT NOT NULL, name TEXT NOT NULL,
    issued_at REAL NOT NULL, not_after REAL NOT NULL, revoked_at REAL
) STRICT;
CREATE INDEX IF NOT EXISTS by_name ON certificate (region, name);
CREATE TABLE IF NOT EXISTS list_number (issuer TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT;
"""


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate the authority has issued.

    Attributes:
        serial: serial number, hexadecimal.
        issuer: `edge`, `region` or `cloud` for an anchor, `devices/<region>` for a device authority.
        tier: tier of the machine; `authority` for a region's device authority.
        region: its region.
        name: the machine's own name; `devices` for a device authority.
        issued_at: seconds since the Unix epoch.
        not_after: when it expires, seconds since the Unix epoch.
        revoked_at: when it was revoked; none while it is good.
    """

    serial: str
    issuer: str
    tier: str
    region: str
    name: str
    issued_at: float
    not_after: float
    revoked_at: float | None = None


class Ledger:
    """The ledger of one authority.

    Args:
        path: the SQLite file; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the ledger alone; commits at the end, or takes everything back when an exception passes.

        Raises:
            StorageError: the file is damaged, or somebody else has held it for 30 seconds.
        """
        try:
            connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
            try:
                connection.execute("PRAGMA synchronous = FULL")
                connection.executescript(_SCHEMA)
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            finally:
                connection.close()  # takes back what was not committed
        except sqlite3.Error as error:
            raise StorageError(f"the authority's ledger {self._path} cannot be used: {error}.", "Restore it from your backup.") from error

    @staticmethod
    def add(connection: sqlite3.Connection, issued: Issued) -> None:
        """Record a certificate before it is handed out; one that is known already stays as it is."""
        connection.execute(
            "INSERT OR IGNORE INTO certificate VALUES (:serial, :issuer, :tier, :region, :name, :issued_at, :not_after, :revoked_at)",
            msgspec.structs.asdict(issued),
        )

    @staticmethod
    def revoke(connection: sqlite3.Connection, serial: str, at: float) -> bool:
        """Mark a certificate as revoked; returns whether it was known and still good."""
        statement = "UPDATE certificate SET revoked_at = ? WHERE serial = ? AND revoked_at IS NULL"
        return connection.execute(statement, (at, serial)).rowcount == 1

    @staticmethod
    def revoked(connection: sqlite3.Connection, issuer: str, *, after: float) -> list[tuple[int, float]]:
        """Return serial and time of what `issuer` revoked and has not expired before `after`."""
        statement = (
            "SELECT serial, revoked_at FROM certificate WHERE issuer = ? AND revoked_at IS NOT NULL AND not_after >= ? ORDER BY serial"
        )
        return [(int(serial, 16), at) for serial, at in connection.execute(statement, (issuer, after))]

    @staticmethod
    def next_number(connection: sqlite3.Connection, issuer: str) -> int:
        """Return the number of the next revocation list of `issuer`."""
        statement = "INSERT INTO list_number VALUES (?, 1) ON CONFLICT (issuer) DO UPDATE SET number = number + 1 RETURNING number"
        row: tuple[int] = connection.execute(statement, (issuer,)).fetchone()
        return row[0]

    def rows(self) -> list[Issued]:
        """Return every certificate, oldest first.

        Raises:
            StorageError: the ledger is damaged.
        """
        fields = Issued.__struct_fields__
        with self.writing() as connection:
            found = connection.execute(f"SELECT {', '.join(fields)} FROM certificate ORDER BY rowid")  # noqa: S608 - our own field names
            return [Issued(**dict(zip(fields, row, strict=True))) for row in found]
