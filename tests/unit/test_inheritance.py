"""What looks like a frame sent lately takes its answer: the events, what counts in the live risk, and when it is sent after all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge import livewords
from edge.config import BudgetSettings
from edge.model import LoadedModel
from shared import clock
from shared.vision.frames import Frame
from shared.wire.messages import Answer, Prediction
from tests.waiting import until

from .edge_parts import frame, load, write_release
from .pipeline_parts import SURE_RED, UNSURE, Device

OTHER = np.where(np.indices(UNSURE.shape)[1] < 4, UNSURE, UNSURE + 30).astype(np.uint8)
"""As unsure, and another picture: half of it is brighter."""


def _answer(sequence: int, index: int) -> Answer:
    said = Prediction(index=index, probabilities=(0.2, 0.8))
    return Answer(spool_id=bytes(16), sequence=sequence, prediction=said, expert_release=3, at=0.0)


@pytest.fixture
def model(tmp_path: Path) -> LoadedModel:
    return load(write_release(tmp_path / "r1"))


def _see(device: Device, model: LoadedModel, *frames: Frame) -> None:
    for one in frames:
        device.inference.step(model, [one])


def _finals(device: Device) -> dict[tuple[str, int], dict[str, Any]]:
    return {(event["stream"], event["sequence"]): event for event in device.events() if event["state"] == "final"}


def _spooled(device: Device, count: int) -> None:
    until(lambda: device.writer.spooled == count, f"{count} cases")


def test_an_heir_of_an_answered_case_is_final_at_once_and_sends_nothing(tmp_path: Path, model: LoadedModel) -> None:
    with Device(tmp_path, inherit=True) as device:
        _see(device, model, frame(0, UNSURE))
        _spooled(device, 1)
        device.answer(_answer(1, 1))
        _see(device, model, frame(1, UNSURE), frame(2, OTHER), frame(3, SURE_RED))
        _spooled(device, 2)
    heir, first = _finals(device)["a", 1], _finals(device)["a", 0]
    assert (first["source"], first["label"]) == ("region", "green")
    assert "inherited_from" not in first
    assert (heir["source"], heir["label"], heir["action"], heir["reason"]) == ("inherited", "green", "keep", "inherited")
    assert (heir["inherited_from"], heir["expert_release"], heir["confidence"]) == (0, 3, 0.8)
    assert [case.frame for case in device.cases] == [0, 2], "the heir was not sent, the picture that differs was"
    assert device.inference.counters["a"].inherited == 1
    assert device.counts() == (2, 2, 0, 0)
    assert sum(event["sequence"] == 1 for event in device.events()) == 1


def test_an_heir_of_a_waiting_case_is_final_when_that_answer_comes(tmp_path: Path, model: LoadedModel) -> None:
    with Device(tmp_path, inherit=True) as device:
        _see(device, model, *(frame(number, UNSURE) for number in range(4)))
        _spooled(device, 1)
        assert device.settler.waiting() == 4
        device.answer(_answer(1, 1))
        assert device.settler.waiting() == 0
        assert (device.settler.answered, device.settler.inherited) == (1, 3)
    assert [event["state"] for event in device.events()] == ["provisional"] * 4 + ["final"] * 4
    assert {key[1]: event["source"] for key, event in _finals(device).items()} == {
        0: "region",
        1: "inherited",
        2: "inherited",
        3: "inherited",
    }
    assert all(event["label"] == "green" for event in _finals(device).values())


def test_an_answer_that_comes_while_an_heir_is_being_settled_is_not_missed(tmp_path: Path, model: LoadedModel) -> None:
    with Device(tmp_path, inherit=True) as device:
        _see(device, model, frame(0, UNSURE))
        _spooled(device, 1)
        settle = device.settler.settle

        def with_an_answer_between(inferred: Any, now: float) -> None:
            device.answer(_answer(1, 1))
            settle(inferred, now)

        device.inference._to.settle = with_an_answer_between
        _see(device, model, frame(1, UNSURE))
        assert device.settler.waiting() == 0
    assert _finals(device)["a", 1]["source"] == "inherited"


def test_without_an_answer_an_heir_is_final_at_its_deadline_with_the_devices_own(tmp_path: Path, model: LoadedModel) -> None:
    with Device(tmp_path, inherit=True, deadline_s=0.2) as device:
        _see(device, model, frame(0, UNSURE), frame(1, UNSURE))
        until(lambda: device.settler.expired == 2, "both deadlines")
        _spooled(device, 1)
        _see(device, model, frame(2, UNSURE))
        _spooled(device, 2)
    heir = _finals(device)["a", 1]
    assert (heir["source"], heir["label"], heir["inherited_from"]) == ("expired", "red", 0)
    assert [case.frame for case in device.cases] == [0, 2], "a case that is not answered in time attracts no more"


def test_a_late_answer_is_inherited_by_those_who_still_wait(tmp_path: Path, model: LoadedModel) -> None:
    with Device(tmp_path, inherit=True) as device:
        first, heir = frame(0, UNSURE), frame(1, UNSURE)
        _see(device, model, first, heir)
        _spooled(device, 1)
        device.settler._expire(first.arrived_at + 60.0)
        assert device.settler.waiting() == 1
        device.answer(_answer(1, 1))
    assert {key[1]: event["source"] for key, event in _finals(device).items()} == {0: "expired", 1: "inherited"}


def test_an_answer_that_cannot_be_read_is_not_inherited(tmp_path: Path, model: LoadedModel) -> None:
    with Device(tmp_path, inherit=True, deadline_s=0.5) as device:
        _see(device, model, frame(0, UNSURE), frame(1, UNSURE))
        _spooled(device, 1)
        device.answer(_answer(1, -1))
        _see(device, model, frame(2, UNSURE))
        _spooled(device, 2)
        until(lambda: device.settler.waiting() == 0, "the deadlines")
    assert {key[1]: event["source"] for key, event in _finals(device).items()} == {0: "expired", 1: "expired", 2: "expired"}
    assert [case.frame for case in device.cases] == [0, 2]


def test_nothing_is_inherited_across_streams_or_releases_or_when_it_is_off(tmp_path: Path, model: LoadedModel) -> None:
    with Device(tmp_path, inherit=True) as device:
        _see(device, model, frame(0, UNSURE), frame(0, UNSURE, stream="b"))
        _see(device, load(write_release(tmp_path / "r2", release=2)), frame(1, UNSURE))
        _spooled(device, 3)
    with Device(tmp_path / "off") as device:
        _see(device, model, frame(0, UNSURE), frame(1, UNSURE))
        _spooled(device, 2)


def test_an_heir_costs_no_budget(tmp_path: Path, model: LoadedModel) -> None:
    with Device(tmp_path, inherit=True, budget=BudgetSettings(bytes_per_s=0.001)) as device:
        _see(device, model, frame(0, UNSURE), frame(1, UNSURE), frame(2, OTHER))
        _spooled(device, 1)
    assert {key[1]: event["reason"] for key, event in _finals(device).items()} == {0: "below_threshold", 1: "inherited", 2: "over_budget"}


@pytest.mark.parametrize("own_answer_first", [True, False])
@pytest.mark.parametrize("same_word", [True, False])
def test_an_audited_heir_is_sent_and_judged_by_what_it_inherited(
    tmp_path: Path, model: LoadedModel, own_answer_first: bool, same_word: bool
) -> None:
    """The student says red; the expert said green of frame 0. What it says of frame 1 itself decides whether inheriting was right."""
    with Device(tmp_path, inherit=True, audit_share=1.0) as device:
        _see(device, model, frame(0, UNSURE), frame(1, UNSURE))
        _spooled(device, 2)
        first, second = _answer(1, 1), _answer(2, 1 if same_word else 0)
        for answer in (second, first) if own_answer_first else (first, second):
            device.answer(answer)
        state = device.audits.state(clock.monotonic())
    assert [case.frame for case in device.cases] == [0, 1]
    assert device.cases[1].prediction.index == 0, "the region sees what the student said"
    heir = _finals(device)["a", 1]
    assert (heir["action"], heir["reason"], heir["source"], heir["label"]) == ("audit", "audit_sample", "inherited", "green")
    assert state.audited == 2
    assert state.risk == (0.0 if same_word else 0.5), "the first would have been sent, the second counts as kept"
    assert (state.inherited, state.debt) == (state.risk, 0.0)


def test_an_audited_heir_without_an_answer_is_judged_by_the_devices_own(tmp_path: Path, model: LoadedModel) -> None:
    with Device(tmp_path, inherit=True, audit_share=1.0, deadline_s=0.2) as device:
        _see(device, model, frame(0, UNSURE), frame(1, UNSURE))
        _spooled(device, 2)
        until(lambda: device.settler.expired == 2, "both deadlines")
        device.answer(_answer(2, 1))
        state = device.audits.state(clock.monotonic())
    assert (state.audited, state.risk, state.inherited) == (1, 1.0, 0.0)


def test_an_heir_that_waits_holds_no_picture(tmp_path: Path, model: LoadedModel) -> None:
    with Device(tmp_path, inherit=True) as device:
        _see(device, model, frame(0, UNSURE), frame(1, UNSURE))
        held = list(device.settler._waiting._items.values())
        assert [one.frame.pixels.size for one in held] == [0, 0]


def test_people_are_told_of_it() -> None:
    live = {"audited": 200, "risk": 0.03, "low": 0.01, "high": 0.06, "is_censored": False, "inherited": 0.01}
    assert livewords.risk(live) == "live risk 3.00% (1.00% to 6.00%) of 200 audit samples, 1.00% of it by inherited answers"
    assert "inherited" not in livewords.risk({**live, "inherited": 0.0})
