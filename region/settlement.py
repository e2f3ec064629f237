"""What follows from a commit: which receipts go out, what the expert is asked, what is counted. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec

from region.batcher import Job, Priority
from region.cases import Incoming, Outcome, Stored

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""Sequences as sorted inclusive ranges."""


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A case and when it arrived, in monotonic seconds."""

    case: Incoming
    now: float


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What to do: `receipts` by (device, spool), `jobs` for the expert; and whose cases were refused, and why."""

    receipts: dict[tuple[str, bytes], Ranges]
    jobs: list[Job]
    duplicates: int
    refused: list[tuple[str, str]]


def settle(arrivals: Sequence[Arrival], stored: Sequence[Stored], *, deadline_s: float) -> Settled:
    """Decide what follows from a commit.

    Args:
        arrivals: the cases of the batch.
        stored: what became of each, in order.
        deadline_s: how old a live case may be when its answer comes.
    """
    kept: dict[tuple[str, bytes], list[int]] = defaultdict(list)
    pairs = list(zip(arrivals, stored, strict=True))
    for arrival, result in pairs:
        if result.outcome in {Outcome.NEW, Outcome.DUPLICATE}:
            kept[arrival.case.device, arrival.case.spool].append(arrival.case.sequence)
    return Settled(
        receipts={key: ranges_of(sequences) for key, sequences in kept.items()},
        jobs=[_job(arrival, result.id, deadline_s) for arrival, result in pairs if result.outcome is Outcome.NEW],
        duplicates=sum(result.outcome is Outcome.DUPLICATE for result in stored),
        refused=[(one.case.device, result.outcome.value) for one, result in pairs if result.outcome in {Outcome.CONFLICT, Outcome.OLD}],
    )


def ranges_of(sequences: Iterable[int]) -> Ranges:
    """Return sequences as sorted inclusive ranges.

    Example:
        >>> ranges_of([5, 1, 2, 2])
        ((1, 2), (5, 5))
    """
    ranges: list[tuple[int, int]] = []
    for number in sorted(set(sequences)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)


def _job(arrival: Arrival, case: int, deadline_s: float) -> Job:
    item = arrival.case
    return Job(
        id=case,
        device=item.device,
        spool=item.spool,
        sequence=item.sequence,
        case=item.case,
        priority=Priority.AUDIT if item.case.is_audit and item.case.score >= item.case.threshold else Priority.HARD,
        received_at=arrival.now,
        deadline=arrival.now + deadline_s,
    )
