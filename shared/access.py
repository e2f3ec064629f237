"""The tokens of a daemon's people and their programs, in a file: random, scoped to a role, expiring, stored only as a hash.

A token is shown once, when it is made. Unknown, expired and revoked tokens get the same answer. What roles and tokens are: roles.py.
The file is SQLite, mode 0600, so that the daemon and the command line may use it at the same time.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from shared import clock
from shared.errors import AccessError, StorageError
from shared.roles import TOKEN_BYTES, Grant, Role, check_label, secret_of, token_hash, token_of

__all__ = ["Grant", "Role", "TokenRecord", "TokenStore"]

DAY_S = 86_400.0
LONGEST_LIFE_S = 400 * DAY_S

_SCHEMA = """
CREATE TABLE IF NOT EXISTS token (
    hash BLOB PRIMARY KEY, role INTEGER NOT NULL, label TEXT NOT NULL, created_at REAL NOT NULL, expires_at REAL NOT NULL
) STRICT
"""


class TokenRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A token as the store knows it: everything but the token.

    Attributes:
        label: whom or what it was made for.
        role: the role's name, in lower case.
        created_at: seconds since the Unix epoch.
        expires_at: seconds since the Unix epoch.
    """

    label: str
    role: str
    created_at: float
    expires_at: float


class TokenStore:
    """The tokens of one daemon.

    Args:
        path: the SQLite file; made when the first token is.
        now: the clock tokens expire by.
    """

    def __init__(self, path: Path, *, now: clock.Clock = clock.wall) -> None:
        self._path = path
        self._now = now

    def create(self, role: Role, label: str, lifetime_s: float = 90 * DAY_S) -> str:
        """Make a token and return it; it cannot be shown again.

        Args:
            role: what its holder may do.
            label: whom it is for, 1 to 64 printable characters; several tokens may share one.
            lifetime_s: seconds until it expires, at most 400 days.

        Raises:
            AccessError: the label or lifetime cannot be used.
            StorageError: the store cannot be written.
        """
        check_label(label)
        if not 0 < lifetime_s <= LONGEST_LIFE_S:
            raise AccessError("a token must expire, within 400 days.", "Give a lifetime above 0 and up to 400 days.")
        secret, now = secrets.token_bytes(TOKEN_BYTES), self._now()
        with self._open() as store:
            store.execute("DELETE FROM token WHERE expires_at < ?", (now,))
            store.execute("INSERT INTO token VALUES (?, ?, ?, ?, ?)", (token_hash(secret), int(role), label, now, now + lifetime_s))
        return token_of(secret)

    def check(self, token: str) -> Grant:
        """Return what a token gives.

        Raises:
            AccessError: it is unknown, malformed, expired or revoked.
            StorageError: the store cannot be read.
        """
        secret = secret_of(token)
        with self._open() as store:
            row = store.execute(
                "SELECT role, label FROM token WHERE hash = ? AND expires_at > ?", (token_hash(secret), self._now())
            ).fetchone()
        if row is None:
            raise AccessError("the token is not valid.", "It may have expired; ask for a new one.")
        return Grant(role=Role(row[0]), label=row[1])

    def revoke(self, label: str) -> int:
        """Revoke every token with this label, at once; returns how many there were.

        Raises:
            StorageError: the store cannot be written.
        """
        with self._open() as store:
            return store.execute("DELETE FROM token WHERE label = ?", (label,)).rowcount

    def tokens(self) -> list[TokenRecord]:
        """Return every token that is still good, oldest first, without the tokens themselves.

        Raises:
            StorageError: the store cannot be read.
        """
        statement = "SELECT label, role, created_at, expires_at FROM token WHERE expires_at > ? ORDER BY created_at, rowid"
        with self._open() as store:
            return [
                TokenRecord(label=label, role=Role(role).name.lower(), created_at=created, expires_at=expires)
                for label, role, created, expires in store.execute(statement, (self._now(),))
            ]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.touch(mode=0o600)
            connection = sqlite3.connect(self._path, timeout=10)
            try:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(_SCHEMA)
                with connection:
                    yield connection
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"the token store {self._path} cannot be used: {error}.", "Correct or remove the file.") from error
