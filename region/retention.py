"""Which cases leave a vault that is too old or too full. Pure.

Rules, in order:
1. What is older than the age limit goes; cases people agreed on have an age limit of their own, and count as more useful than any other.
2. While more bytes are held than the capacity, the least useful goes: answered hard cases, then answered audit samples, then unanswered
   hard cases, then unanswered audit samples; within a class the oldest first. Audit samples go late because evaluation stands on them.
3. Once over the capacity, cut down to `DOWN_TO` of it, so that cutting is rare.

Example:
    >>> old = Held(id=1, size=10, received_at=0.0, answered=True, is_audit=False)
    >>> to_drop([old], held_bytes=10, capacity_bytes=100, max_age_s=5.0, now=6.0)
    [1]
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

DOWN_TO = 0.95


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What the decision needs of one stored case.

    `size` in bytes, `received_at` in Unix seconds, `answered` also when it cannot be, `frozen` when people agreed on its label.
    """

    id: int
    size: int
    received_at: float
    answered: bool
    is_audit: bool
    frozen: bool = False


def usefulness(case: Held) -> tuple[int, float, int]:
    """Return the sort key of rule 2: lowest leaves first."""
    return (4 * case.frozen + 2 * (not case.answered) + case.is_audit, case.received_at, case.id)


def to_drop(
    held: Iterable[Held], *, held_bytes: int, capacity_bytes: int, max_age_s: float, now: float, human_max_age_s: float = float("inf")
) -> list[int]:
    """Return the ids to drop, in the order they should go.

    Args:
        held: the candidates; may be a part of the vault.
        held_bytes: what the whole vault holds.
        capacity_bytes: what it may hold.
        max_age_s: how old a case may be, in seconds.
        now: Unix seconds.
        human_max_age_s: how old a frozen case may be, in seconds.
    """
    cases = list(held)
    dropped = [case for case in cases if now - case.received_at > (human_max_age_s if case.frozen else max_age_s)]
    held_bytes -= sum(case.size for case in dropped)
    if held_bytes > capacity_bytes:
        gone = {case.id for case in dropped}
        for case in sorted((case for case in cases if case.id not in gone), key=usefulness):
            if held_bytes <= DOWN_TO * capacity_bytes:
                break
            dropped.append(case)
            held_bytes -= case.size
    return [case.id for case in dropped]
