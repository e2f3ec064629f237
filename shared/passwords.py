"""Names, passwords and how often one may guess: the rules of local accounts. Pure.

A password is kept as scrypt (RFC 7914) of it under a salt of its own; the cost stands beside it, so that it can be raised later.
Guessing at one name is slowed by a wait that doubles: five wrong ones are free, from then on 1, 2, 4 … up to 300 seconds. The wait belongs
to the name alone and is bounded, so that nobody can lock a person out for good.

Example:
    >>> kept = keep("correct horse", salt=bytes(16), cost=Cost(n=16, r=1, p=1))
    >>> fits("correct horse", kept), fits("correct mule", kept)
    (True, False)
    >>> [wait_s(failures) for failures in (4, 5, 6, 30)]
    [0.0, 1.0, 2.0, 300.0]
"""

from __future__ import annotations

import hashlib
import hmac
import re

import msgspec

from shared.errors import AccessError

SALT_BYTES = 16
HASH_BYTES = 32
FREE_FAILURES = 5
LONGEST_WAIT_S = 300.0
SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 256
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What one guess costs: scrypt's parameters. The default takes 32 MiB and about a quarter of a second."""

    n: int = 2**15
    r: int = 8
    p: int = 3

    @property
    def memory_bytes(self) -> int:
        """Bytes scrypt needs, with room to spare."""
        return 160 * self.n * self.r + (1 << 20)


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a store keeps of a password."""

    salt: bytes
    digest: bytes
    cost: Cost


def keep(password: str, *, salt: bytes, cost: Cost) -> Kept:
    """Return what is kept of a password under a fresh salt of `SALT_BYTES` bytes."""
    return Kept(salt=salt, digest=_digest(password, salt, cost), cost=cost)


def fits(password: str, kept: Kept) -> bool:
    """Return whether this is the password, in time that does not depend on how wrong it is."""
    return hmac.compare_digest(_digest(password, kept.salt, kept.cost), kept.digest)


def nobody(cost: Cost) -> Kept:
    """Return what no password fits: names without an account are checked against it, so that they take as long as others."""
    return Kept(salt=bytes(SALT_BYTES), digest=bytes(HASH_BYTES), cost=cost)


def wait_s(failures: int) -> float:
    """Return the seconds the next guess has to wait after so many wrong ones in a row."""
    return 0.0 if failures < FREE_FAILURES else min(2.0 ** min(failures - FREE_FAILURES, 60), LONGEST_WAIT_S)


def checked_name(name: str) -> str:
    """Return a name that an account may have.

    Raises:
        AccessError: it is empty, longer than 32 or has other characters.
    """
    if _NAME.fullmatch(name) is None:
        raise AccessError(f"the name {name[:40]!r} cannot be used.", "Take 1 to 32 of a-z, 0-9, '.', '_', '-', a letter or digit first.")
    return name


def checked_password(password: str, name: str) -> str:
    """Return a password that may be chosen.

    Raises:
        AccessError: it is too short, too long, all one character, or contains the name.
    """
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise AccessError(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters.", "Three or four words make a good one.")
    if len(set(password)) < 4 or (len(name) > 2 and name in password.lower()):
        raise AccessError("this password is too easy to guess.", "Leave your name out and use more than a few different characters.")
    return password


def _digest(password: str, salt: bytes, cost: Cost) -> bytes:
    secret = password[:LONGEST_PASSWORD].encode()
    return hashlib.scrypt(secret, salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=cost.memory_bytes, dklen=HASH_BYTES)
