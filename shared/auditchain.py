"""The chain of audit entries: each holds the hash of the one before, so that no entry can be changed, dropped or slipped in between. Pure.

An entry's hash is SHA-256 of a label, the hash before, and the entry's fields as JSON in a fixed order. The chain alone cannot show that
its newest entries were cut off and rebuilt: that is what heads kept elsewhere are for (`Head`).

Example:
    >>> first = link(START, 1, 5.0, "anna", "round.requested", "round 1", {})
    >>> verify([first]).count
    1
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import msgspec

from shared.errors import ProtocolError

START = "0" * 64
LONGEST = {"who": 64, "action": 64, "subject": 256}
LONGEST_DETAIL_BYTES = 2048


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody did. `at` in Unix seconds; `hash` closes the entry, hexadecimal."""

    number: int
    at: float
    who: str
    action: str
    subject: str
    detail: dict[str, Any]
    hash: str


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Where a chain ends: how many entries, and the hash of the last."""

    count: int
    hash: str


def link(before: str, number: int, at: float, who: str, action: str, subject: str, detail: dict[str, Any]) -> Entry:
    """Return the next entry of a chain whose last hash is `before`; texts that are too long are cut.

    Raises:
        ProtocolError: the detail is longer than 2 KB as JSON.
    """
    who, action, subject = (value[: LONGEST[name]] for name, value in (("who", who), ("action", action), ("subject", subject)))
    if len(canonical(detail)) > LONGEST_DETAIL_BYTES:
        raise ProtocolError(f"the detail of an audit entry is longer than {LONGEST_DETAIL_BYTES} bytes.")
    found = Entry(number=number, at=at, who=who, action=action, subject=subject, detail=detail, hash="")
    return msgspec.structs.replace(found, hash=_hash(before, found))


def verify(entries: Iterable[Entry]) -> Head:
    """Return the head of a chain that is whole.

    Raises:
        ProtocolError: naming the first entry that is not what was written.
    """
    head = Head(count=0, hash=START)
    for entry in entries:
        if entry.number != head.count + 1:
            raise ProtocolError(f"audit entry {head.count + 1} is missing; entry {entry.number} stands in its place.")
        if entry.hash != _hash(head.hash, entry):
            raise ProtocolError(f"audit entry {entry.number} is not what was written, or the one before was changed.")
        head = Head(count=entry.number, hash=entry.hash)
    return head


def canonical(detail: dict[str, Any]) -> bytes:
    """Return a detail as the bytes that are hashed and stored."""
    return json.dumps(detail, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _hash(before: str, entry: Entry) -> str:
    fields = [entry.number, entry.at, entry.who, entry.action, entry.subject, canonical(entry.detail).decode()]
    return hashlib.sha256(b"terrace/1/audit\x00" + bytes.fromhex(before) + json.dumps(fields, ensure_ascii=False).encode()).hexdigest()
