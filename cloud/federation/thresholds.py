"""A deferral threshold out of counts: regions send how many held-out units fell into each score bin and how many were wrong.

Pure. Each unit is counted once (region.evaluation draws one case per unit), so units are independent and the binomial bound is exact.
"Wrong" is against the expert's answer, which bounds from above what keeping a frame can lose.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.deferral import risk
from shared.wire.reports import SliceCounts


def pooled_bins(counts: Sequence[SliceCounts], bins: int) -> tuple[list[int], list[int]]:
    """Return units and wrong units per bin, summed over regions; counts with another number of bins are left out."""
    fitting = [one for one in counts if len(one.bin_cases) == len(one.bin_wrong) == bins]
    cases = [sum(one.bin_cases[index] for one in fitting) for index in range(bins)]
    wrong = [sum(one.bin_wrong[index] for one in fitting) for index in range(bins)]
    return cases, wrong


def safe_edge(
    cases: Sequence[int], wrong: Sequence[int], edges: Sequence[float], *, epsilon: float, delta: float, most: float
) -> tuple[float, int] | None:
    """Return the lowest edge that may be the threshold, with the wrong units it keeps; None when none may.

    Args:
        cases: units per bin, bins ascending by score.
        wrong: of them, where the student's answer is not the expert's.
        edges: what separates the bins.
        epsilon: the largest share of all units that may be kept and wrong.
        delta: the chance that the bound is broken; shared among all edges tried, since the best of them is taken.
        most: the largest share that may be deferred.
    """
    total = sum(cases)
    for number, edge in enumerate(edges, start=1):
        if not total or sum(cases[:number]) > most * total:
            return None
        errors = sum(wrong[number:])
        if risk.bound(errors, total, delta / len(edges)) <= epsilon:
            return edge, errors
    return None
