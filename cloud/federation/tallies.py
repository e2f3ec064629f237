"""May a region's counts of an evaluation be believed? Pure: a reply in, the first contradiction in it or nothing out.

A region can spoil its own word; it must not be able to stop a round or count more than it has. What contradicts itself is left out.
"""

from __future__ import annotations

from shared.wire.reports import EvaluationReply, SliceCounts


def contradiction(reply: EvaluationReply, *, classes: int, edges: tuple[float, ...]) -> str:
    """Return what is wrong with a reply, empty when nothing is.

    Args:
        reply: the region's.
        classes: how many the model knows.
        edges: the score bins that were asked for.
    """
    candidate, current = reply.candidate, reply.current
    if reply.edges != edges:
        return "it counted other score bins than were asked for"
    if (candidate.cases, candidate.unit_cases) != (current.cases, current.unit_cases):
        return "candidate and current student were not counted on the same cases"
    return _of_one(candidate, classes, len(edges) + 1) or _of_one(current, classes, len(edges) + 1)


def _of_one(counts: SliceCounts, classes: int, bins: int) -> str:
    pairs = ((counts.cases, counts.right), (counts.bin_cases, counts.bin_wrong), (counts.unit_cases, counts.unit_right))
    if any(len(whole) != len(part) or any(p > w for w, p in zip(whole, part, strict=True)) for whole, part in pairs):
        return "it counts more right or wrong answers than cases"
    if len(counts.cases) != classes or len(counts.bin_cases) != bins:
        return "it counts other classes or bins than the model's"
    if sum(counts.cases) != sum(counts.unit_cases) or sum(counts.bin_cases) > len(counts.unit_cases):
        return "its classes, bins and units do not add up"
    return ""
