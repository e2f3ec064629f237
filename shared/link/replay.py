"""What stands in a spool's segments behind the place the index has heard of: after a crash, or without an index. Pure.

Rules, in order:
1. Only segments whose header was sealed under the key count.
2. Of two records of one sequence the later one counts: a case may have been copied when its segment was written anew.
3. What lies below the floor is over, whatever became of it: the region would refuse it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from shared.link.record import HEADER_BYTES, RecordKind, Sealing, parse_header, scan
from shared.link.retention import Waiting
from shared.link.space import Place


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """The cases that were found, a sequence above all that were given, the highest floor that was noted."""

    cases: dict[int, tuple[Waiting, Place]]
    first: int
    floor: int


def replay(sealing: Sealing, segments: Iterable[tuple[int, bytes]], *, tail: Place, floor: int) -> Replayed:
    """Read segments from a place on.

    Args:
        sealing: the spool's.
        segments: number and content, oldest first, from the tail's on.
        tail: where to begin.
        floor: the floor the index knows.
    """
    cases: dict[int, tuple[Waiting, Place]] = {}
    first = 1
    for number, data in segments:
        header = parse_header(data[:HEADER_BYTES])
        if header is None or not sealing.is_ours(data[:HEADER_BYTES]):
            continue
        first, floor = max(first, header.first), max(floor, header.floor)
        for at, head in scan(memoryview(data), tail.offset if number == tail.segment else 0):
            first, floor = max(first, head.sequence + 1), max(floor, head.floor)
            if head.kind is RecordKind.CASE and head.is_whole:
                cases[head.sequence] = head.item, Place(number, at)
    open_cases = {sequence: case for sequence, case in cases.items() if sequence >= floor}
    return Replayed(cases=open_cases, first=first, floor=floor)
