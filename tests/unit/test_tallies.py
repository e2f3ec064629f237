"""A region that contradicts itself has no say at the gate, and stops nothing."""

from __future__ import annotations

import msgspec
import pytest

from cloud.federation.tallies import contradiction, human_pairs, paired
from shared.wire.reports import EvaluationReply, SliceCounts

HONEST = SliceCounts(cases=(3, 2), right=(2, 2), bin_cases=(1, 1), bin_wrong=(1, 0), unit_cases=(3, 2), unit_right=(2, 2))
EDGES = (0.5,)


def judged(candidate: SliceCounts, current: SliceCounts = HONEST, edges: tuple[float, ...] = EDGES) -> str:
    reply = EvaluationReply(task="t", edges=edges, candidate=candidate, current=current)
    return contradiction(reply, classes=2, edges=EDGES)


def test_honest_counts_are_believed() -> None:
    assert judged(HONEST) == ""
    assert judged(msgspec.structs.replace(HONEST, right=(0, 0), unit_right=(0, 0))) == ""


@pytest.mark.parametrize(
    "lie",
    [
        {"right": (4, 2)},
        {"unit_right": (2, 3)},
        {"unit_right": (2,)},
        {"bin_wrong": (2, 0)},
        {"cases": (30, 2)},
        {"unit_cases": (3, 2, 5)},
    ],
)
def test_counts_that_contradict_themselves_are_not(lie: dict[str, tuple[int, ...]]) -> None:
    assert judged(msgspec.structs.replace(HONEST, **lie))


def test_other_bins_classes_or_sums_are_not_believed() -> None:
    assert judged(HONEST, edges=(0.7,))
    wide = msgspec.structs.replace(HONEST, cases=(3, 2, 0), right=(2, 2, 0))
    assert "classes" in judged(wide, wide)
    inflated = msgspec.structs.replace(HONEST, cases=(300, 200), right=(300, 200))
    assert "add up" in judged(inflated, inflated)


def test_counts_on_human_labelled_cases_are_checked_and_pooled_in_pairs() -> None:
    worse = msgspec.structs.replace(HONEST, right=(1, 1), unit_right=(1, 1))
    reply = EvaluationReply(task="t", edges=EDGES, candidate=HONEST, current=HONEST, human_candidate=worse, human_current=HONEST)
    assert contradiction(reply, classes=2, edges=EDGES) == ""
    lying = msgspec.structs.replace(worse, right=(4, 1))
    assert contradiction(msgspec.structs.replace(reply, human_candidate=lying), classes=2, edges=EDGES)
    assert "one of two" in contradiction(msgspec.structs.replace(reply, human_current=None), classes=2, edges=EDGES)
    without = msgspec.structs.replace(reply, human_candidate=None, human_current=None)
    now, was, changes = paired(human_pairs([reply, without, reply]))
    assert (now.right, was.right, changes) == ((2, 2), (4, 4), [-1, -1, -1, -1])
