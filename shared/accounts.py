"""The people of a daemon: local accounts with a role, made by redeeming a one-time invitation.

Rules, in order:
1. Nobody makes an account without an invitation; its code is 24 random bytes, shown once, stored hashed, good once and for a day.
2. The first admin's invitation is printed on the terminal of the machine; whoever can read that terminal is believed.
3. An unknown name, a wrong password and a name that has to wait get the same words, and the first two take the same time.
4. At most `AT_ONCE` passwords are checked at a time, so that guessing does not take the machine.
5. The last admin cannot be removed or made less.

Sessions are sessions.py; the rules of names, passwords and waiting are passwords.py.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import threading
from pathlib import Path

import msgspec

from shared import clock
from shared.errors import AccessError
from shared.passwords import LONGEST_WAIT_S, SALT_BYTES, Cost, Kept, checked_name, checked_password, fits, keep, nobody, wait_s
from shared.peoplefile import opened
from shared.roles import Role, check_label

CODE_BYTES = 24
DAY_S = 86_400.0
LONGEST_INVITATION_S = 30 * DAY_S
MOST_FAILURES_KEPT = 10_000
AT_ONCE = 2
QUEUE_S = 5.0
FIRST_ADMIN = "first admin"
_REFUSED = "name or password is wrong, or too many were tried."
_RETRY = f"Wait a little and try again; after many wrong ones up to {LONGEST_WAIT_S:.0f} seconds."


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One person. Times in Unix seconds; `signed_in_at` 0 means never."""

    name: str
    role: Role
    created_at: float
    signed_in_at: float = 0.0


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """An open invitation: everything but its code."""

    label: str
    role: Role
    created_at: float
    expires_at: float


class AccountStore:
    """The accounts in a file.

    Args:
        path: the file of people; made at the first use.
        now: the clock invitations expire by.
        cost: what a new password's check costs.
    """

    def __init__(self, path: Path, *, now: clock.Clock = clock.wall, cost: Cost | None = None) -> None:
        self._path = path
        self._now = now
        self._cost = cost if cost is not None else Cost()
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def invite(self, role: Role, label: str, lifetime_s: float = DAY_S) -> str:
        """Return a fresh one-time code; an open invitation under the same label ends.

        Raises:
            AccessError: label or lifetime cannot be used.
            StorageError: the file cannot be written.
        """
        check_label(label)
        if not 0 < lifetime_s <= LONGEST_INVITATION_S:
            raise AccessError("an invitation must expire, within 30 days.", "Give a lifetime above 0 and up to 30 days.")
        code, now = secrets.token_urlsafe(CODE_BYTES), self._now()
        with opened(self._path, write=True) as file:
            file.execute("DELETE FROM invitation WHERE label = ? OR expires_at <= ?", (label, now))
            file.execute("INSERT INTO invitation VALUES (?, ?, ?, ?, ?)", (_hash(code), int(role), label, now, now + lifetime_s))
        return code

    def redeem(self, code: str, name: str, password: str) -> Account:
        """Make the account an invitation is for; the code is spent.

        Raises:
            AccessError: the code is unknown, spent or expired, the name is taken or unusable, or the password too weak. Only a
                success spends the code.
            StorageError: the file cannot be written.
        """
        checked_password(password, checked_name(name))
        self._invited(code)  # before the costly part, so that guessing codes stays cheap for us
        kept, now = self._kept(password), self._now()
        with opened(self._path, write=True) as file:
            row = file.execute("DELETE FROM invitation WHERE hash = ? AND expires_at > ? RETURNING role", (_hash(code), now)).fetchone()
            if row is None:
                raise _spent()
            if file.execute("SELECT 1 FROM account WHERE name = ?", (name,)).fetchone() is not None:
                raise AccessError(f"the name {name} is taken.", "Choose another.")
            values = (name, row[0], kept.salt, kept.digest, kept.cost.n, kept.cost.r, kept.cost.p, now)
            file.execute("INSERT INTO account (name, role, salt, digest, n, r, p, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        return Account(name=name, role=Role(row[0]), created_at=now)

    def check(self, name: str, password: str) -> Account:
        """Return the account of a name and its password.

        Raises:
            AccessError: they do not go together, or the name has to wait.
            StorageError: the file cannot be used.
        """
        now = self._now()
        with opened(self._path) as file:
            failures, last_at = file.execute("SELECT count, last_at FROM failure WHERE name = ?", (name[:64],)).fetchone() or (0, 0.0)
            row = file.execute("SELECT salt, digest, n, r, p FROM account WHERE name = ?", (name,)).fetchone()
        if now < last_at + wait_s(failures):
            raise AccessError(_REFUSED, _RETRY)
        right = self._fits(password, _kept(row) if row is not None else nobody(self._cost))
        with opened(self._path, write=True) as file:
            if not right:
                _count_failure(file, name[:64], now)
            else:
                file.execute("DELETE FROM failure WHERE name = ?", (name,))
                file.execute("UPDATE account SET signed_in_at = ? WHERE name = ?", (now, name))
                found = file.execute("SELECT name, role, created_at, signed_in_at FROM account WHERE name = ?", (name,)).fetchone()
        if not right or found is None:
            raise AccessError(_REFUSED, _RETRY)
        return _account(found)

    def change_password(self, name: str, old: str, new: str) -> None:
        """Give an account a new password and end all its sessions.

        Raises:
            AccessError: the old one is wrong, or the new one too weak.
            StorageError: the file cannot be written.
        """
        checked_password(new, name)
        self.check(name, old)
        kept = self._kept(new)
        with opened(self._path, write=True) as file:
            values = (kept.salt, kept.digest, kept.cost.n, kept.cost.r, kept.cost.p, name)
            file.execute("UPDATE account SET salt = ?, digest = ?, n = ?, r = ?, p = ? WHERE name = ?", values)
            file.execute("DELETE FROM session WHERE account = ?", (name,))

    def accounts(self) -> list[Account]:
        """Return all accounts by name.

        Raises:
            StorageError: the file cannot be read.
        """
        with opened(self._path) as file:
            return [_account(row) for row in file.execute("SELECT name, role, created_at, signed_in_at FROM account ORDER BY name")]

    def invitations(self) -> list[Invitation]:
        """Return the open invitations, oldest first.

        Raises:
            StorageError: the file cannot be read.
        """
        statement = "SELECT label, role, created_at, expires_at FROM invitation WHERE expires_at > ? ORDER BY created_at"
        with opened(self._path) as file:
            rows = file.execute(statement, (self._now(),)).fetchall()
        return [Invitation(label=row[0], role=Role(row[1]), created_at=row[2], expires_at=row[3]) for row in rows]

    def withdraw(self, label: str) -> int:
        """End the open invitation of this label; returns how many there were."""
        with opened(self._path, write=True) as file:
            return file.execute("DELETE FROM invitation WHERE label = ?", (label,)).rowcount

    def set_role(self, name: str, role: Role) -> None:
        """Change what a person may do, at once, also in open sessions.

        Raises:
            AccessError: there is no such account, or it is the last admin.
            StorageError: the file cannot be written.
        """
        with opened(self._path, write=True) as file:
            if file.execute("UPDATE account SET role = ? WHERE name = ?", (int(role), name)).rowcount == 0:
                raise _unknown(name)
            _keep_an_admin(file)

    def remove(self, name: str) -> None:
        """Remove an account and end its sessions.

        Raises:
            AccessError: there is no such account, or it is the last admin.
            StorageError: the file cannot be written.
        """
        with opened(self._path, write=True) as file:
            if file.execute("DELETE FROM account WHERE name = ?", (name,)).rowcount == 0:
                raise _unknown(name)
            _keep_an_admin(file)

    def _invited(self, code: str) -> None:
        with opened(self._path) as file:
            if file.execute("SELECT 1 FROM invitation WHERE hash = ? AND expires_at > ?", (_hash(code), self._now())).fetchone() is None:
                raise _spent()

    def _kept(self, password: str) -> Kept:
        with _Place(self._places):
            return keep(password, salt=secrets.token_bytes(SALT_BYTES), cost=self._cost)

    def _fits(self, password: str, kept: Kept) -> bool:
        with _Place(self._places):
            return fits(password, kept)


class _Place:
    """One of the few places where passwords are worked on."""

    def __init__(self, places: threading.BoundedSemaphore) -> None:
        self._places = places

    def __enter__(self) -> None:
        if not self._places.acquire(timeout=QUEUE_S):
            raise AccessError("too many people sign in at once.", "Try again in a moment.")

    def __exit__(self, *_: object) -> None:
        self._places.release()


def _count_failure(file: sqlite3.Connection, name: str, now: float) -> None:
    file.execute(
        "INSERT INTO failure VALUES (?, 1, ?) ON CONFLICT (name) DO UPDATE SET count = count + 1, last_at = excluded.last_at", (name, now)
    )
    # names that were tried long ago wait no more: the table stays small whatever is typed
    file.execute("DELETE FROM failure WHERE last_at < ?", (now - DAY_S,))
    oldest = "DELETE FROM failure WHERE name IN (SELECT name FROM failure ORDER BY last_at DESC LIMIT -1 OFFSET ?)"
    file.execute(oldest, (MOST_FAILURES_KEPT,))


def _keep_an_admin(file: sqlite3.Connection) -> None:
    if file.execute("SELECT 1 FROM account WHERE role = ?", (int(Role.ADMIN),)).fetchone() is None:
        raise AccessError("this is the last admin.", "Make somebody else admin first.")


def _account(row: tuple[str, int, float, float]) -> Account:
    return Account(name=row[0], role=Role(row[1]), created_at=row[2], signed_in_at=row[3])


def _kept(row: tuple[bytes, bytes, int, int, int]) -> Kept:
    return Kept(salt=row[0], digest=row[1], cost=Cost(n=row[2], r=row[3], p=row[4]))


def _hash(code: str) -> bytes:
    return hashlib.sha256(b"terrace/1/invitation\x00" + code.encode()).digest()


def _spent() -> AccessError:
    return AccessError("this invitation is not valid.", "It may be spent or expired; ask an admin for a new one.")


def _unknown(name: str) -> AccessError:
    return AccessError(f"there is no account {name[:40]!r}.", "List them with: account list.")
