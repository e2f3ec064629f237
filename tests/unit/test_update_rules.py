"""The pure parts of an update: its table of states, probation, the self-test's comparison, the schedule."""

from __future__ import annotations

import numpy as np
import pytest

from edge.schedule import Schedule
from edge.selftest import compare, judge_latency
from edge.swap import FINAL, TABLE, Event, Probation, Service, State, Update, diagram, probation_for
from shared.release.card import decode_card
from tests.unit import releases
from tests.unit.updater_parts import FIRST, calibrated


def test_the_table_is_whole() -> None:
    ends = {state for state in State if not any(before is state for before, _ in TABLE)}
    assert ends | {State.COMMITTED} == FINAL  # committed is an end, and for a while not the last word
    reached = {State.OFFERED, *TABLE.values()}
    assert reached == set(State)
    for (before, event), after in TABLE.items():
        assert Update(release=2, from_release=1, state=before).after(event, "why").state is after
    with pytest.raises(ValueError, match="cannot happen"):
        Update(release=2, from_release=1).after(Event.COMMIT)
    assert "SELF_TESTED --> LIVE: swap" in diagram()


@pytest.mark.parametrize(
    ("service", "verdict"),
    [
        (Service(frames=9), None),
        (Service(frames=10), ""),
        (Service(frames=3, failures=1), "it failed on 1 of 4 frames"),
        (Service(frames=10, deferred=8), "it defers 80% of frames, 0% to 50% were expected"),
    ],
)
def test_probation(service: Service, verdict: str | None) -> None:
    assert Probation(frames=10, highest=0.5).verdict(service) == verdict


def test_probation_follows_the_card_and_the_light() -> None:
    card = decode_card(releases.card(FIRST, 1, **calibrated(0.1)))
    assert probation_for(card, frames=200, before=Service()).highest == pytest.approx(0.4)
    assert probation_for(card, frames=200, before=Service(frames=10, deferred=6)).highest == pytest.approx(0.8)
    assert probation_for(card, frames=200, before=Service(frames=10, deferred=1)).lowest == pytest.approx(1 / 200)
    assert probation_for(decode_card(releases.card(FIRST, 1)), frames=200, before=Service()).highest == 1.0


def test_the_self_test_compares() -> None:
    test = decode_card(releases.card(FIRST, 1)).self_test
    right = np.asarray(test.logits, np.float32)
    assert compare(test, right) == ""
    assert compare(test, right + test.tolerance / 2) == ""
    assert "differ by" in compare(test, right + 1)
    assert "shape" in compare(test, right[:, :2])
    assert "finite" in compare(test, right * np.nan)
    assert judge_latency(30, 10) == ""
    assert judge_latency(61, 10) != ""
    assert judge_latency(3000, None) != ""


def test_the_schedule_is_patient() -> None:
    schedule = Schedule(interval_s=300, at_least_s=60)
    assert schedule.wait_s(0) == 0
    schedule.begin(0)
    schedule.end(failed=False)
    assert schedule.wait_s(0) == 300
    for _ in range(5):
        schedule.ask()
    assert schedule.wait_s(10) == 50
    schedule.begin(60)
    schedule.end(failed=True)
    assert schedule.wait_s(60) == 60
    schedule.begin(120)
    schedule.end(failed=True)
    assert schedule.wait_s(120) == 120


def test_a_new_device_asks_again_soon_until_it_was_answered_once() -> None:
    schedule = Schedule(interval_s=300, at_least_s=60)
    waits = []
    for now in range(0, 600, 100):
        schedule.begin(now)
        schedule.end(failed=True)
        waits.append(schedule.wait_s(now))
    assert waits == [2, 4, 8, 16, 32, 60]
    schedule.begin(700)
    schedule.end(failed=False)
    schedule.begin(1000)
    schedule.end(failed=True)
    assert schedule.wait_s(1000) == 60
