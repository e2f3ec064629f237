"""Where each case lies in the spool's segments, and which segment is given back or written anew. Pure.

A segment is only ever appended to, so a case that leaves it leaves a hole. Rules, in order:
1. A segment in which nothing waits is given back; the one being written only once it is worth it.
2. When the segments take more than `limit_bytes`, the one with the least that still waits is written anew: what waits in it is copied
   to the end, and the segment is given back. The limit lies a quarter above the capacity, so that there is one with holes to be found.

Example:
    >>> space = Space(limit_bytes=100)
    >>> space.grew(1, 80)
    >>> space.put(7, Place(1, 0), 40)
    >>> space.drained(active=2)
    []
    >>> space.drop(7)
    >>> space.drained(active=2)
    [1]
"""

from __future__ import annotations

from typing import NamedTuple

SLACK = 1.25
"""Bytes of segments over bytes of capacity: room for holes."""
WORTH_COPYING = 0.875
"""A segment of which more than this share waits is left as it is: copying it would wear the flash for nothing."""


class Place(NamedTuple):
    """Where a record begins: the segment's number and the offset in it, in bytes."""

    segment: int
    offset: int


class _Segment:
    """One segment: its size, and the length of the record of each case that waits in it."""

    def __init__(self) -> None:
        self.size = 0
        self.live = 0
        self.lengths: dict[int, int] = {}


class Space:
    """The map of a spool's segments.

    Args:
        limit_bytes: what all segments may take before one is written anew.
    """

    def __init__(self, *, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._segments: dict[int, _Segment] = {}
        self._places: dict[int, Place] = {}
        self.size_bytes = 0

    def grew(self, segment: int, size: int) -> None:
        """Note a segment's size, also of a new one."""
        found = self._segments.setdefault(segment, _Segment())
        self.size_bytes += size - found.size
        found.size = size

    def put(self, sequence: int, place: Place, length: int) -> None:
        """Note where a case's record lies, `length` bytes long; it lay nowhere, or elsewhere, before."""
        if sequence in self._places:
            self.drop(sequence)
        self._places[sequence] = place
        segment = self._segments.get(place.segment) or self._segments.setdefault(place.segment, _Segment())
        segment.lengths[sequence] = length
        segment.live += length

    def drop(self, sequence: int) -> None:
        """Forget a case that has left."""
        place = self._places.pop(sequence, None)
        if place is not None:
            segment = self._segments[place.segment]
            segment.live -= segment.lengths.pop(sequence)

    @property
    def is_empty(self) -> bool:
        """Whether no case lies anywhere."""
        return not self._places

    def where(self, sequence: int) -> Place | None:
        """Return where a case's record begins."""
        return self._places.get(sequence)

    def inside(self, segment: int) -> list[int]:
        """Return the cases that wait in a segment, in the order of their records."""
        return sorted(self._segments[segment].lengths, key=self._places.__getitem__)

    def given_back(self, segment: int) -> None:
        """Forget a segment that is no more."""
        self.size_bytes -= self._segments.pop(segment).size

    def drained(self, *, active: int, worth_bytes: int | None = None) -> list[int]:
        """Return the segments in which nothing waits.

        Args:
            active: the one being written.
            worth_bytes: it counts too when it has grown to this.
        """
        return [
            number
            for number, segment in self._segments.items()
            if not segment.lengths and (number != active or (worth_bytes is not None and segment.size >= worth_bytes))
        ]

    def to_write_anew(self, *, active: int) -> int | None:
        """Return the segment to write anew now; None while all is within the limit."""
        if self.size_bytes <= self._limit:
            return None
        holes = {
            number: segment.live / segment.size
            for number, segment in self._segments.items()
            if number != active and segment.live <= segment.size * WORTH_COPYING
        }
        return min(holes, key=holes.__getitem__, default=None)
