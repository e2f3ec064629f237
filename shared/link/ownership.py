"""Which region a waiting case belongs to, as it is kept on disk; see docs/link.md, Fail-over. Pure.

A case belongs to the first region that may have it: the one its last chunk was handed out to. Only that region's receipt, or a day of
its silence, frees it. The record is written before the first case goes to another region; while the device runs, everything that the
record does not name belongs to the active region and may have been sent there.

Example:
    >>> record = Ownership(spool_id=b"s", active="north", held=(Holding(region="south", since=5.0, ranges=((2, 3),)),))
    >>> [record.owner(sequence) for sequence in (1, 2, 4)]
    [Owner(region='north', may_have=True), Owner(region='south', may_have=True), Owner(region='north', may_have=True)]
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from shared.errors import ProtocolError

HELD_S = 86400.0
"""After a silence of this length a region's cases are given to another one, which keeps them without effect."""
ANYBODY = ""
"""The owner of cases that are given to whoever is there, without effect."""

Ranges = tuple[tuple[int, int], ...]


class Owner(NamedTuple):
    """Whose a case is, and whether that region may have it already."""

    region: str
    may_have: bool


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """What one region may have: sequences as inclusive ranges, and since when, in Unix seconds."""

    region: str
    since: float
    ranges: Ranges


class Ownership(msgspec.Struct, frozen=True, kw_only=True):
    """The record. `exact_below` is said at an orderly end: lower sequences that are not named were sent to nobody."""

    spool_id: bytes
    active: str
    held: tuple[Holding, ...] = ()
    exact_below: int = 0

    def owner(self, sequence: int) -> Owner:
        """Return whose a case is."""
        for holding in self.held:
            if any(first <= sequence <= last for first, last in holding.ranges):
                return Owner(holding.region, may_have=True)
        return Owner(self.active, may_have=sequence >= self.exact_below)

    def since(self, region: str, otherwise: float) -> float:
        """Return since when a region has held cases."""
        return next((holding.since for holding in self.held if holding.region == region), otherwise)


def ranges_of(sequences: Iterable[int]) -> Ranges:
    """Return sequences as sorted inclusive ranges."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(set(sequences)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)


def encode_record(record: Ownership) -> bytes:
    """Return the record as it lies on disk."""
    return msgspec.json.encode(record)


def decode_record(data: bytes) -> Ownership:
    """Read a record.

    Raises:
        ProtocolError: it is none.
    """
    try:
        return msgspec.json.decode(data, type=Ownership)
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"not a record of owners: {error}.") from None
