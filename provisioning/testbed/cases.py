"""Lost and doubled cases, counted one by one from two files: a device's spool and its region's vault. Pure.

A receipt says that the region holds a case. Every case with a receipt has left the spool, so it must lie in the vault under its own
sequence; what has no receipt waits in the spool, and may lie in the vault already. A case that is in neither is lost.

Example:
    >>> judge({"cases_spooled": 3, "cases_received": 2, "waiting": [[3, 3]]}, {"sequences": {"ab": [[1, 1], [3, 3]]}}).lost
    1
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one device's cases."""

    spooled: int = 0
    received: int = 0
    waiting: int = 0
    evicted: int = 0
    stored: int = 0
    lost: int = 0

    def __add__(self, other: Verdict) -> Verdict:
        """Return the sum over two devices."""
        return Verdict(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


def judge(spool: Mapping[str, Any], held: Mapping[str, Any]) -> Verdict:
    """Compare a device's spool with what its region holds of it.

    Args:
        spool: `terrace edge spool --json`.
        held: the device's entry of `terrace region vault --json`, read after the spool; empty when the region has nothing of it.
    """
    waiting = numbers(spool.get("waiting", ()))
    stored = [numbers(ranges) for ranges in held.get("sequences", {}).values()]
    safe = sum(len(sequences - waiting) for sequences in stored)
    return Verdict(
        spooled=int(spool["cases_spooled"]),
        received=int(spool["cases_received"]),
        waiting=len(waiting),
        evicted=int(spool.get("cases_evicted", 0)),
        stored=sum(len(sequences) for sequences in stored),
        lost=max(0, int(spool["cases_received"]) - safe),
    )


def numbers(ranges: Iterable[Sequence[int]]) -> frozenset[int]:
    """Return every number of inclusive ranges."""
    return frozenset(number for first, last in ranges for number in range(first, last + 1))
