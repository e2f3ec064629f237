"""The gates between a candidate and a release. Pure: counts in, checks with their limits out; no model runs here.

Rules, in order:
1. On the regions' held-out audit cases, pooled, the candidate is not worse than the current student by more than `largest_drop`,
   against the expert's answers; regions without cases have no say, and when none has any the gate is left out and said so.
   Both answered the same cases, so the loss is paired; it counts as worse when its one-sided 95 % lower bound lies above
   `largest_drop`, with the standard error over units (Miller 2024, "Adding error bars to evals", clustered and paired). With few
   cases one changed answer is no evidence; with many the bound is tight. The seed set (rule 3) is large, and has no such margin.
2. On no class with enough cases does it lose more than CLASS_FACTOR times that, with the margin of the fewest answers that can have
   changed there (the loss itself).
3. On the cloud's seed set, against the true labels, it loses at most `largest_drop`: nothing known is forgotten.
4. INT8 loses at most LARGEST_INT8_DROP against the same weights in FP32.
5. On the cases people labelled in the regions, against the people's labels, the candidate is not worse than the current student by more
   than `largest_drop`: a loop fed by the expert alone repeats the expert's mistakes. The loss is paired as in rule 1; there may be a
   handful of such cases, so the margin is at least that of the fewest answers that can have changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from cloud.evidence import Check

CLASS_FACTOR = 3.0
FEWEST_OF_A_CLASS = 20
LARGEST_INT8_DROP = 0.02
ONE_SIDED_95 = 1.645
"""Quantile of the standard normal distribution."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How often a model was right, per class of the expert's answer: `right` of `cases`."""

    cases: tuple[int, ...]
    right: tuple[int, ...]

    @property
    def total(self) -> int:
        """All cases."""
        return sum(self.cases)

    @property
    def accuracy(self) -> float:
        """Share right; 0 without cases."""
        return sum(self.right) / self.total if self.total else 0.0


def pooled(counts: Sequence[Counts]) -> Counts:
    """Return the sum of several regions' counts; classes nobody counted are 0."""
    width = max((len(one.cases) for one in counts), default=0)
    return Counts(
        cases=tuple(sum(one.cases[index] for one in counts if index < len(one.cases)) for index in range(width)),
        right=tuple(sum(one.right[index] for one in counts if index < len(one.right)) for index in range(width)),
    )


def on_cases(candidate: Counts, current: Counts, *, largest_drop: float, changes: Sequence[int] = ()) -> tuple[Check, ...]:
    """Return the checks of rules 1 and 2; none when there are no cases.

    Args:
        candidate: the candidate's pooled counts.
        current: the current student's, on the same cases.
        largest_drop: share, 0 to 1.
        changes: per unit, how many more of its cases the candidate gets right (negative: fewer); empty leaves rule 1 without margin.
    """
    if not candidate.total:
        return ()
    margin = ONE_SIDED_95 * paired_error(changes, candidate.total)
    checks = [_at_least("cases_accuracy", candidate.accuracy, current.accuracy - largest_drop - margin)]
    losses = [
        ((was - now) - ONE_SIDED_95 * math.sqrt(max(0, was - now))) / cases
        for cases, now, was in zip(candidate.cases, candidate.right, current.right, strict=True)
        if cases >= FEWEST_OF_A_CLASS
    ]
    if losses:
        checks.append(_at_most("cases_worst_class_drop", max(losses), largest_drop * CLASS_FACTOR))
    return tuple(checks)


def on_human_cases(candidate: Counts, current: Counts, *, largest_drop: float, changes: Sequence[int]) -> tuple[Check, ...]:
    """Return the check of rule 5; none when people have labelled nothing. Arguments as in `on_cases`."""
    if not candidate.total:
        return ()
    fewest = math.sqrt(max(0, sum(current.right) - sum(candidate.right))) / candidate.total
    margin = ONE_SIDED_95 * max(paired_error(changes, candidate.total), fewest)
    return (_at_least("human_cases_accuracy", candidate.accuracy, current.accuracy - largest_drop - margin),)


def paired_error(changes: Sequence[int], cases: int) -> float:
    """Return the standard error of a paired difference in accuracy over `cases` cases, units being what is independent.

    Args:
        changes: per unit, right answers of one model minus the other's.
        cases: all cases of all units.
    """
    if not changes or not cases:
        return 0.0
    mean = sum(changes) / len(changes)
    return math.sqrt(sum((change - mean) ** 2 for change in changes)) / cases


def on_seed_set(candidate: float, current: float, *, largest_drop: float) -> Check:
    """Return the check of rule 3; both are accuracies, 0 to 1."""
    return _at_least("seed_accuracy", candidate, current - largest_drop)


def on_quantisation(fp32: float, int8: float) -> Check:
    """Return the check of rule 4; both are accuracies, 0 to 1."""
    return _at_most("int8_accuracy_drop", fp32 - int8, LARGEST_INT8_DROP)


def _at_least(name: str, value: float, limit: float) -> Check:
    return Check(name=name, value=value, limit=limit, passed=value >= limit)


def _at_most(name: str, value: float, limit: float) -> Check:
    return Check(name=name, value=value, limit=limit, passed=value <= limit)
