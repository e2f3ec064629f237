"""Who is signed in: sessions of people's browsers, 12 hours at most, an hour without use. Tokens are stored hashed.

A session gives what its account gives *now*: a changed role counts at the next request, a removed account ends its sessions. An event
stream that stays open is no use of a session (`check(..., touch=False)`).
"""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from shared import clock
from shared.accounts import Account
from shared.errors import AccessError
from shared.peoplefile import opened
from shared.roles import TOKEN_BYTES, Grant, Role, secret_of, token_hash, token_of

LIFETIME_S = 12 * 3600.0
IDLE_S = 3600.0
TOUCH_S = 60.0
"""Use is written down at most this often, so that a page does not sync the disk with every request."""
MOST_PER_ACCOUNT = 16


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session as it is opened: the cookie's token, and what writes must carry beside it. Shown once."""

    token: str
    csrf: str


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """What a good session gives.

    Attributes:
        grant: role and name of the account.
        csrf: what the header X-CSRF-Token of a write must say.
        ends_at: Unix seconds at which it ends whatever is done.
    """

    grant: Grant
    csrf: str
    ends_at: float


class SessionStore:
    """The open sessions in a file.

    Args:
        path: the file of people, the one the accounts are in.
        now: the clock sessions end by.
    """

    def __init__(self, path: Path, *, now: clock.Clock = clock.wall) -> None:
        self._path = path
        self._now = now

    def open(self, account: Account) -> Session:
        """Sign an account in; its oldest session ends where it has too many.

        Raises:
            StorageError: the file cannot be written.
        """
        secret, now = secrets.token_bytes(TOKEN_BYTES), self._now()
        session = Session(token=token_of(secret), csrf=secrets.token_urlsafe(TOKEN_BYTES))
        with opened(self._path, write=True) as file:
            file.execute("DELETE FROM session WHERE opened_at <= ? OR used_at <= ?", (now - LIFETIME_S, now - IDLE_S))
            file.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?)", (token_hash(secret), account.name, session.csrf, now, now))
            file.execute(
                "DELETE FROM session WHERE account = ? AND hash NOT IN "
                "(SELECT hash FROM session WHERE account = ? ORDER BY opened_at DESC, rowid DESC LIMIT ?)",
                (account.name, account.name, MOST_PER_ACCOUNT),
            )
        return session

    def check(self, token: str, *, touch: bool = True) -> SignedIn:
        """Return what a session gives.

        Args:
            token: the cookie's value.
            touch: whether this counts as use.

        Raises:
            AccessError: it is unknown, malformed, closed or over.
            StorageError: the file cannot be used.
        """
        key, now = token_hash(secret_of(token)), self._now()
        with opened(self._path) as file:
            row = file.execute(
                "SELECT account.name, account.role, session.csrf, session.opened_at, session.used_at FROM session "
                "JOIN account ON account.name = session.account WHERE hash = ? AND opened_at > ? AND used_at > ?",
                (key, now - LIFETIME_S, now - IDLE_S),
            ).fetchone()
        if row is None:
            raise AccessError("you are signed out.", "Sign in again.")
        if touch and now - row[4] >= TOUCH_S:
            with opened(self._path, write=True) as file:
                file.execute("UPDATE session SET used_at = ? WHERE hash = ?", (now, key))
        return SignedIn(grant=Grant(role=Role(row[1]), label=row[0]), csrf=row[2], ends_at=row[3] + LIFETIME_S)

    def close(self, token: str) -> None:
        """End a session; one that is over stays over.

        Raises:
            AccessError: it is no token.
            StorageError: the file cannot be written.
        """
        with opened(self._path, write=True) as file:
            file.execute("DELETE FROM session WHERE hash = ?", (token_hash(secret_of(token)),))

    def close_all(self, name: str) -> int:
        """End every session of an account; returns how many there were.

        Raises:
            StorageError: the file cannot be written.
        """
        with opened(self._path, write=True) as file:
            return file.execute("DELETE FROM session WHERE account = ?", (name,)).rowcount
