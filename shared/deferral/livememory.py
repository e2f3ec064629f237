"""What a live risk remembers of itself, so that it can go on after a restart. Values only; live makes them and takes them back. Pure."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from shared.deferral.steadiness import Steadiness

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class Stretch(msgspec.Struct, kw_only=True):
    """Counts over the samples drawn from number `first` on."""

    first: Count
    audited: Count = 0
    wrong: Count = 0
    owed: Count = 0
    inherited: Count = 0
    missing: Count = 0

    @property
    def settled(self) -> int:
        """How many of its samples are answered or missing."""
        return self.audited + self.missing


class LiveMemory(msgspec.Struct, frozen=True, kw_only=True):
    """One live risk at a moment.

    `threshold`, `epsilon` (None where it does not follow) and `window` are what it began with; it may only go on under the same. `drawn`
    samples so far; `pending` ones as (number, seconds since they were drawn), `overdue` ones by number; both stretches; the
    drift test; `samples` of the following threshold, oldest first, as (score, differs).
    """

    threshold: float | None
    epsilon: float | None
    window: Count
    drawn: Count
    pending: tuple[tuple[Count, float], ...]
    overdue: tuple[Count, ...]
    older: Stretch | None
    newer: Stretch
    steadiness: Steadiness
    samples: tuple[tuple[float, bool], ...]
