"""A release beside the one before it: what the comparison costs a good one, how soon it sees a bad one, how samples meet answers."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from edge.auditshare import LEASE_S, AuditShare
from edge.events import Inferred
from edge.joining import MOST_EARLY
from edge.paired import ALPHA, Paired
from edge.shadow import Shadow
from shared.deferral.policy import Action, Decision
from shared.engines.onnx import OnnxEngine
from shared.errors import EngineError
from shared.vision.frames import Pixels
from shared.wire.messages import Answer, Prediction

from .edge_parts import WEIGHTS, colour, frame, load, write_release

RED, GREEN = 0, 1
FLIPPED = [[0.0, 6.0], [6.0, 0.0], [0.0, 0.0]]


def watched(seed: int, *, now_wrong: float, before_wrong: float, samples: int) -> int | None:
    """After how many samples a release is taken for worse, None if never; the two err independently."""
    draw, paired = random.Random(seed), Paired.fresh()
    for number in range(1, samples + 1):
        paired = paired.add(agrees=draw.random() >= now_wrong, agreed_before=draw.random() >= before_wrong)
        if paired.is_worse:
            return number
    return None


@pytest.mark.parametrize(("now", "before"), [(0.08, 0.08), (0.30, 0.30), (0.10, 0.08), (0.05, 0.08)])
def test_a_release_that_is_as_good_is_hardly_ever_taken_back(now: float, before: float) -> None:
    runs = 600
    taken_back = sum(watched(seed, now_wrong=now, before_wrong=before, samples=120) is not None for seed in range(runs))
    assert taken_back / runs <= ALPHA + 3 * (ALPHA / runs) ** 0.5


def test_a_release_that_is_clearly_worse_is_taken_back_within_some_dozen_samples() -> None:
    needed = sorted(watched(seed, now_wrong=0.45, before_wrong=0.07, samples=500) or 500 for seed in range(200))
    assert needed[100] <= 36
    assert needed[190] <= 75


def inferred(number: int, pixels: Pixels, index: int, *, release: int = 2, unit: str = "") -> Inferred:
    shot = frame(number, pixels)
    decision = Decision(action=Action.AUDIT, reason="audit_sample", score=1.0, threshold=0.5)
    return Inferred(
        frame=shot if not unit else msgspec.structs.replace(shot, unit=unit),
        prediction=Prediction(index=index, probabilities=(0.5, 0.5)),
        decision=decision,
        release=release,
        labels=("red", "green"),
        deadline_s=5.0,
    )


def answer(sequence: int, index: int) -> Answer:
    return Answer(spool_id=b"", sequence=sequence, prediction=Prediction(index=index, probabilities=(0.5, 0.5)), expert_release=1, at=0.0)


@pytest.fixture
def shadow(tmp_path: Path) -> Shadow:
    made = Shadow()
    made.begin(2, load(write_release(tmp_path / "before", weights=WEIGHTS)))
    return made


def counts(shadow: Shadow) -> tuple[int, int, int]:
    paired = shadow.paired()
    return paired.audited, paired.agreed, paired.agreed_before


def test_a_sample_and_its_answer_meet_in_either_order(shadow: Shadow) -> None:
    shadow.spooled(7, inferred(1, colour(250, 0), GREEN))  # the new release is wrong, the one before says red
    assert counts(shadow) == (0, 0, 0)
    shadow.answer(answer(7, RED))
    shadow.answer(answer(8, GREEN))
    shadow.spooled(8, inferred(2, colour(0, 250), GREEN))
    assert counts(shadow) == (2, 1, 2)
    shadow.answer(answer(7, RED))  # again, and one of a hard case
    shadow.answer(answer(99, RED))
    assert counts(shadow) == (2, 1, 2)


def test_only_this_release_and_one_sample_per_unit_count(shadow: Shadow) -> None:
    shadow.spooled(1, inferred(1, colour(250, 0), RED, release=1))
    for sequence in (2, 3, 4):
        shadow.spooled(sequence, inferred(sequence, colour(250, 0), RED, unit="board-1"))
    for sequence in (1, 2, 3, 4):
        shadow.answer(answer(sequence, RED))
    assert counts(shadow) == (1, 1, 1)


def test_nothing_is_compared_before_begin_and_after_end(shadow: Shadow) -> None:
    idle = Shadow()
    assert (idle.is_comparing, shadow.is_comparing) == (False, True)
    for one in (idle, shadow):
        one.end()
        one.spooled(1, inferred(1, colour(250, 0), RED))
        one.answer(answer(1, RED))
        assert counts(one) == (0, 0, 0)


def test_what_was_compared_is_told_also_when_the_comparison_is_over(shadow: Shadow, tmp_path: Path) -> None:
    assert shadow.compared().paired.audited == 0
    for number in range(4):
        shadow.spooled(number, inferred(number, colour(250, 0), RED if number else GREEN))
        shadow.answer(answer(number, RED))
    told = shadow.compared()
    assert (told.release, told.paired.audited, told.paired.lost, told.paired.won) == (2, 4, 1, 0)
    shadow.end()
    assert shadow.compared() == told
    shadow.begin(3, load(write_release(tmp_path / "again", weights=WEIGHTS)))
    assert shadow.compared() == told  # until the next one counts
    shadow.spooled(9, inferred(9, colour(250, 0), RED, release=3))
    shadow.answer(answer(9, GREEN))
    told = shadow.compared()
    assert (told.release, told.paired.audited, told.paired.lost, told.paired.won) == (3, 1, 0, 0)


def test_a_model_before_that_fails_is_compared_with_no_longer(shadow: Shadow, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: OnnxEngine, batch: object) -> object:
        raise EngineError("the accelerator is gone.")

    monkeypatch.setattr(OnnxEngine, "run", broken)
    shadow.spooled(1, inferred(1, colour(250, 0), RED))
    monkeypatch.undo()
    shadow.spooled(2, inferred(2, colour(250, 0), RED))
    shadow.answer(answer(2, RED))
    assert counts(shadow) == (0, 0, 0)


def test_what_waits_is_bounded(shadow: Shadow) -> None:
    for sequence in range(MOST_EARLY + 10):
        shadow.answer(answer(sequence, RED))
    shadow.spooled(3, inferred(1, colour(250, 0), RED))
    assert counts(shadow) == (0, 0, 0)
    shadow.spooled(MOST_EARLY + 5, inferred(2, colour(250, 0), RED))
    assert counts(shadow) == (1, 1, 1)


def test_the_audit_share_is_asked_for_lapses_and_stays_within_bounds() -> None:
    share = AuditShare(own=0.02, highest=0.25)
    assert share.at(0.0) == 0.02
    assert share.ask("0.1", now=0.0)
    assert (share.at(1.0), share.at(LEASE_S)) == (0.1, 0.02)
    assert share.ask("0.9", now=10.0)
    assert share.at(11.0) == 0.25
    for nonsense in ("much", "-1", "2", "nan", "inf"):
        assert not share.ask(nonsense, now=12.0)
    assert share.at(13.0) == 0.25
    assert share.ask("0.001", now=14.0)
    assert share.at(15.0) == 0.02
    assert share.ask("0.2", now=16.0)
    assert share.ask("", now=17.0)
    assert share.at(18.0) == 0.02
    refusing = AuditShare(own=0.02, highest=0.0)
    assert refusing.ask("0.5", now=0.0)
    assert refusing.at(1.0) == 0.02
