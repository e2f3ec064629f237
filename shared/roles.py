"""What people may do, and the tokens that say so.

Roles build on one another: viewer (sees numbers) < reviewer (sees a region's pictures) < operator (starts rounds, rolls out) < admin
(makes tokens). A token is `terrace_` and 32 random bytes; a store keeps its SHA-256, from which it cannot be had back (256 bits of
chance need no slow hash). Where tokens are kept: access.py.

Example:
    >>> secret_of(token_of(bytes(32))) == bytes(32)
    True
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib

import msgspec

from shared.errors import AccessError

PREFIX = "terrace_"
TOKEN_BYTES = 32
LONGEST_LABEL = 64


class Role(enum.IntEnum):
    """What somebody may do; a higher role may do everything a lower one may."""

    VIEWER = 1
    REVIEWER = 2
    OPERATOR = 3
    ADMIN = 4

    @classmethod
    def named(cls, name: str) -> Role:
        """Return the role of this name.

        Raises:
            AccessError: there is none.
        """
        try:
            return cls[name.upper()]
        except KeyError:
            names = ", ".join(role.name.lower() for role in cls)
            raise AccessError(f"there is no role {name!r}.", f"The roles are {names}.") from None


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a good token gives.

    Attributes:
        role: the most its holder may do.
        label: whom or what it was made for; stands in records of what was done.
    """

    role: Role
    label: str

    def require(self, role: Role) -> None:
        """Let a holder pass who has at least this role.

        Raises:
            AccessError: the role is not enough.
        """
        if self.role < role:
            raise AccessError(f"this needs the role {role.name.lower()}; {self.label} is {self.role.name.lower()}.")


def check_label(label: str) -> None:
    """Refuse a label that is empty, too long or not printable.

    Raises:
        AccessError: it cannot be used.
    """
    if not 1 <= len(label) <= LONGEST_LABEL or not label.isprintable():
        raise AccessError(f"the label {label[:80]!r} cannot be used.", f"Give 1 to {LONGEST_LABEL} printable characters.")


def token_of(secret: bytes) -> str:
    """Return the token that carries a secret of `TOKEN_BYTES` bytes."""
    return PREFIX + base64.urlsafe_b64encode(secret).decode().rstrip("=")


def secret_of(token: str) -> bytes:
    """Return the secret in a token.

    Raises:
        AccessError: it is malformed; in the words for one that is unknown.
    """
    try:
        secret = base64.b64decode(token.removeprefix(PREFIX) + "=", altchars=b"-_", validate=True) if token.startswith(PREFIX) else b""
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != TOKEN_BYTES:
        raise AccessError("the token is not valid.", "It may have expired; ask for a new one.")
    return secret


def token_hash(secret: bytes) -> bytes:
    """Return what a store keeps of a token: SHA-256 of a label and the secret."""
    return hashlib.sha256(b"terrace/1/token\x00" + secret).digest()
