"""Live risk, following threshold and byte budget in a device's pipeline: what is counted, what is kept back, and what it says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge import livewords
from edge.config import BudgetSettings
from edge.inference import Inference
from edge.joining import MOST_EARLY
from edge.liveaudits import LiveAudits
from edge.model import LoadedModel
from shared import clock
from shared.deferral.policy import Action
from shared.wire.messages import Answer, Prediction
from tests.waiting import until

from .edge_parts import frame, load, write_release
from .pipeline_parts import SURE_GREEN, SURE_RED, UNSURE, Device
from .test_pipeline_parts import _inferred

NOTHING = BudgetSettings(bytes_per_s=0.0)


def _answer(sequence: int, index: int) -> Answer:
    said = Prediction(index=index, probabilities=(0.5, 0.5))
    return Answer(spool_id=bytes(16), sequence=sequence, prediction=said, expert_release=1, at=0.0)


def _model(folder: Path, *, release: int = 1) -> LoadedModel:
    return load(write_release(folder / f"r{release}", release=release))


def _see(inference: Inference, model: LoadedModel, pictures: list[object], *, first: int = 0) -> None:
    for number, pixels in enumerate(pictures):
        inference.step(model, [frame(first + number, pixels)])  # type: ignore[arg-type]


def test_answers_to_audit_samples_become_the_live_risk(tmp_path: Path) -> None:
    with Device(tmp_path, audit_share=1.0) as device:
        _see(device.inference, _model(tmp_path), [SURE_RED, SURE_GREEN, UNSURE, SURE_RED])
        until(lambda: len(device.cases) == 4, "four cases")
        device.audits.answer(_answer(1, 0))
        device.audits.answer(_answer(2, 0))  # sure, and the expert says otherwise
        device.audits.answer(_answer(3, 1))  # unsure: would have been deferred
        until(lambda: device.audits.state(clock.monotonic()).audited == 3, "three answered")
    state = device.audits.state(clock.monotonic())
    assert state.risk == pytest.approx(1 / 3)
    assert (state.pending, state.threshold, state.epsilon) == (1, 1.0, None)


def test_an_answer_that_comes_before_the_case_writer_tells_its_sequence_counts(tmp_path: Path) -> None:
    with Device(tmp_path, audit_share=1.0) as device:
        device.offer_fails = True
        _see(device.inference, _model(tmp_path), [SURE_RED])
        until(lambda: device.writer.failed == 1, "the case is lost")
        device.audits.answer(_answer(7, 1))
        assert device.audits.state(0.0).audited == 0
        assert device.audits.state(clock.monotonic() + 700.0).missing == 1, "a sample that never became a case is missing"


def test_answers_nobody_waits_for_are_not_hoarded(tmp_path: Path) -> None:
    audits, inferred = LiveAudits(), _inferred(5, 0.0, Action.AUDIT)
    audits.adopt(inferred.release, threshold=None, epsilon=None)
    audits.drawn(inferred, 0.0)
    for sequence in range(MOST_EARLY + 2):
        audits.answer(_answer(sequence, 0))
    audits.spooled(0, inferred)
    assert (audits.state(1.0).audited, audits.state(1.0).pending) == (0, 1)  # its answer gave way; it is missing later, and said to be
    audits.answer(_answer(0, 0))
    assert audits.state(1.0).audited == 1


def test_the_threshold_follows_and_a_new_release_begins_with_its_own(tmp_path: Path) -> None:
    with Device(tmp_path, audit_share=1.0, live_threshold=True) as device:
        model = _model(tmp_path)
        for number in range(48):
            device.inference.step(model, [frame(number, SURE_RED if number % 2 else UNSURE)])
            until(lambda count=number + 1: len(device.cases) == count, "the case")
            device.audits.answer(_answer(number + 1, 1))  # the expert never agrees with "red"
        until(lambda: device.audits.state(0.0).audited >= 46, "the answers")
        raised = device.audits.threshold()
        assert raised is not None
        assert raised > 5.0, "confidence lies: what looked sure is sent now"
        device.inference.step(model, [frame(100, SURE_RED)])
        until(lambda: device.output.written >= 49, "its event")
        assert device.events()[-1]["threshold"] == raised
        assert device.events()[-1]["state"] == "provisional"
        device.inference.step(_model(tmp_path, release=2), [frame(101, SURE_RED)])
        assert device.audits.threshold() == 1.0
        assert device.audits.state(0.0).audited == 0


def test_with_a_budget_of_nothing_answers_stay_local_and_audit_goes_on(tmp_path: Path) -> None:
    with Device(tmp_path, budget=NOTHING) as device:
        _see(device.inference, _model(tmp_path), [UNSURE, SURE_RED, UNSURE])
        until(lambda: device.output.written == 3, "three final events")
    assert [(event["state"], event["reason"]) for event in device.events()] == [
        ("final", "over_budget"),
        ("final", "reaches_threshold"),
        ("final", "over_budget"),
    ]
    assert device.counts() == (3, 0, 0, 0)
    assert device.spending.status(0.0)["held_back"] == 2
    with Device(tmp_path / "audit", audit_share=1.0, budget=NOTHING) as device:
        _see(device.inference, _model(tmp_path), [UNSURE])
        until(lambda: len(device.cases) == 1, "the audit sample")
        device.audits.answer(_answer(1, 1 - device.cases[0].prediction.index))
        until(lambda: device.audits.state(0.0).audited == 1, "its answer")
    state = device.audits.state(0.0)
    assert (state.risk, state.debt) == (1.0, 1.0), "what the budget keeps is risk, and said to be debt"
    assert device.spending.audit_bytes > 0


def test_a_starved_audit_is_said_and_its_frame_is_treated_like_any_other(tmp_path: Path) -> None:
    with Device(tmp_path, audit_share=1.0, budget=BudgetSettings(audit_bytes_per_s=0.0)) as device:
        _see(device.inference, _model(tmp_path), [UNSURE, SURE_RED])
        until(lambda: len(device.cases) == 1, "the deferred frame")
        until(lambda: device.output.written == 2, "both events")
    assert [event["action"] for event in device.events()][:2] == ["defer", "keep"]
    state = device.audits.state(clock.monotonic())
    assert (state.missing, state.is_censored, state.audited) == (2, True, 0)
    assert device.spending.audits_refused == 2
    assert not device.cases[0].is_audit


def test_the_status_says_it_in_words(tmp_path: Path) -> None:
    with Device(tmp_path, audit_share=1.0, budget=NOTHING) as device:
        _see(device.inference, _model(tmp_path), [SURE_RED] * 2)
        until(lambda: len(device.cases) == 2, "two cases")
        live = {name: getattr(device.audits.state(0.0), name) for name in device.audits.state(0.0).__struct_fields__}
        status = {"live": live, "audit_share": 1.0, "budget": device.spending.status(0.0)}
        assert "not known yet" in livewords.lines(status)[0]
        device.audits.answer(_answer(1, 0))
        until(lambda: device.audits.state(0.0).audited == 1, "an answer")
        live |= {name: getattr(device.audits.state(0.0), name) for name in live}
    words = livewords.lines(status)
    assert words[0].startswith("risk     live risk 0.00% (0.00% to ")
    assert "threshold 1.000, fixed" in words[1]
    assert "100.0% of all frames are drawn; 1 samples wait" in words[2]
    assert "0 bytes/s" in words[4]
    assert livewords.lines({}) == [], "the agent before did not say it"
