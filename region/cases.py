"""The values that flow around a case in the region, from arrival to answer. Pure."""

from __future__ import annotations

from enum import Enum

import msgspec

from shared.wire.messages import Case, Prediction


class Outcome(Enum):
    """What became of an incoming case."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    OLD = "old"


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """A case as it arrived: `payload` is its canonical bytes, `case` the same decoded, `received_at` Unix seconds.

    `is_held`: another region may have it too, with effect; here it has none.
    """

    device: str
    spool: bytes
    sequence: int
    payload: bytes
    case: Case
    received_at: float
    is_held: bool = False


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one incoming case; `id` is its row when it is NEW, else 0."""

    outcome: Outcome
    id: int = 0


class StoredCase(msgspec.Struct, frozen=True, kw_only=True):
    """A case out of the vault with the expert's answer, if it has one."""

    id: int
    device: str
    spool: bytes
    sequence: int
    received_at: float
    case: Case
    answer: Prediction | None
