"""The regions' counts of an evaluation: may they be believed, and what do they come to. Pure.

A region can spoil its own word; it must not be able to stop a round or count more than it has. What contradicts itself is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from cloud.foundry import gates
from cloud.foundry.gates import Counts
from shared.wire.reports import EvaluationReply, SliceCounts

Pair: TypeAlias = tuple[SliceCounts, SliceCounts]
"""One region's counts of the candidate and of the current student, on the same cases."""


def contradiction(reply: EvaluationReply, *, classes: int, edges: tuple[float, ...]) -> str:
    """Return what is wrong with a reply, empty when nothing is.

    Args:
        reply: the region's.
        classes: how many the model knows.
        edges: the score bins that were asked for.
    """
    if reply.edges != edges:
        return "it counted other score bins than were asked for"
    found = _of_two(reply.candidate, reply.current, classes, len(edges) + 1)
    human, human_current = reply.human_candidate, reply.human_current
    if found or (human is None and human_current is None):
        return found
    if human is None or human_current is None:
        return "it counted one of two models on the human-labelled cases"
    return _of_two(human, human_current, classes, len(edges) + 1)


def human_pairs(replies: Sequence[EvaluationReply]) -> list[Pair]:
    """Return the counts on human-labelled cases of the regions that have such cases."""
    pairs = [(reply.human_candidate, reply.human_current) for reply in replies]
    return [(candidate, current) for candidate, current in pairs if candidate is not None and current is not None]


def paired(pairs: Sequence[Pair]) -> tuple[Counts, Counts, list[int]]:
    """Return pooled counts of candidate and current student, and per unit how many more cases the candidate gets right."""
    candidates = [Counts(cases=one.cases, right=one.right) for one, _ in pairs]
    currents = [Counts(cases=one.cases, right=one.right) for _, one in pairs]
    changes = [now - before for one, other in pairs for now, before in zip(one.unit_right, other.unit_right, strict=True)]
    return gates.pooled(candidates), gates.pooled(currents), changes


def _of_two(candidate: SliceCounts, current: SliceCounts, classes: int, bins: int) -> str:
    if (candidate.cases, candidate.unit_cases) != (current.cases, current.unit_cases):
        return "candidate and current student were not counted on the same cases"
    return _of_one(candidate, classes, bins) or _of_one(current, classes, bins)


def _of_one(counts: SliceCounts, classes: int, bins: int) -> str:
    pairs = ((counts.cases, counts.right), (counts.bin_cases, counts.bin_wrong), (counts.unit_cases, counts.unit_right))
    if any(len(whole) != len(part) or any(p > w for w, p in zip(whole, part, strict=True)) for whole, part in pairs):
        return "it counts more right or wrong answers than cases"
    if len(counts.cases) != classes or len(counts.bin_cases) != bins:
        return "it counts other classes or bins than the model's"
    if sum(counts.cases) != sum(counts.unit_cases) or sum(counts.bin_cases) > len(counts.unit_cases):
        return "its classes, bins and units do not add up"
    return ""
