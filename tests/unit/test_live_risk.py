"""The live risk of a release: what audit samples say of it, and what those say that never came back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.deferral.live import CENSORED, MOST_PENDING, PATIENCE_S, STRETCH, LiveRisk
from shared.deferral.steadiness import ALARM, LEARNING, REFERENCE, STEADY, Steadiness


def _live(*, epsilon: float | None = None, follows: bool = False) -> LiveRisk:
    return LiveRisk.of(threshold=2.0, epsilon=epsilon, follows=follows)


def test_only_what_was_kept_and_differs_is_risk() -> None:
    live = _live()
    for kept, differs in [(True, True), (True, False), (False, True), (False, False)]:
        live.answered(live.draw(0.0), score=1.0, differs=differs, kept=kept)
    state = live.state(0.0)
    assert (state.risk, state.audited, state.is_censored, state.disagreement) == (0.25, 4, False, 0.5)
    assert state.low < 0.25 < state.high


def test_a_sample_without_an_answer_is_missing_and_an_answer_that_comes_late_takes_it_back() -> None:
    live = _live()
    first, second = live.draw(0.0), live.draw(1.0)
    live.answered(first, score=3.0, differs=False, kept=True)
    assert (live.state(PATIENCE_S).pending, live.state(PATIENCE_S).missing) == (1, 0)
    starved = live.state(PATIENCE_S + 2.0)
    assert (starved.pending, starved.missing, starved.is_censored) == (0, 1, True)
    live.answered(second, score=3.0, differs=True, kept=True)
    after = live.state(PATIENCE_S + 3.0)
    assert (after.audited, after.missing, after.is_censored, after.risk) == (2, 0, False, 0.5)


def test_starved_audits_widen_the_interval_and_never_lower_its_upper_end() -> None:
    whole, starved = _live(), _live()
    random = np.random.default_rng(2)
    for wrong in (random.random(300) < 0.1).tolist():
        whole.answered(whole.draw(0.0), score=3.0, differs=wrong, kept=True)
        number = starved.draw(0.0)
        if wrong:
            starved.lost(number)  # just those that would have told: the worst that can happen
        else:
            starved.answered(number, score=3.0, differs=False, kept=True)
    assert starved.state(0.0).risk == 0.0
    assert starved.state(0.0).is_censored
    assert starved.state(0.0).high >= whole.state(0.0).high


def test_a_frame_the_budget_kept_is_risk_and_debt_and_does_not_move_the_threshold() -> None:
    live = _live(epsilon=0.1, follows=True)
    for _ in range(20):
        live.answered(live.draw(0.0), score=1.0, differs=True, kept=True, owed=True)
    state = live.state(0.0)
    assert (state.risk, state.debt) == (1.0, 1.0)
    assert state.threshold == 2.0, "its score already asks for the expert"


def test_an_answer_counts_once_and_one_that_was_never_drawn_not_at_all() -> None:
    live = _live()
    number = live.draw(0.0)
    for asked in (number, number, 77):
        live.answered(asked, score=1.0, differs=True, kept=True)
    assert live.state(0.0).audited == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["draw", "answer", "lose", "wait"]), st.integers(0, 60), st.booleans()), max_size=120))
def test_every_sample_is_pending_answered_or_missing(steps: list[tuple[str, int, bool]]) -> None:
    live, now, drawn = _live(epsilon=0.4), 0.0, 0
    for what, number, yes in steps:
        now += 200.0 if what == "wait" else 0.0
        if what == "draw":
            drawn = live.draw(now) + 1
        elif what == "answer":
            live.answered(number, score=float(number), differs=yes, kept=yes)
        elif what == "lose":
            live.lost(number)
        state = live.state(now)
        assert state.audited >= 0
        assert state.missing >= 0
        assert state.audited + state.missing + state.pending <= drawn or drawn == 0
        assert 0.0 <= state.low <= state.risk <= state.high <= 1.0


def test_the_risk_is_that_of_the_newest_stretch() -> None:
    live = _live()
    for differs in [False] * (2 * STRETCH) + [True] * (2 * STRETCH):
        live.answered(live.draw(0.0), score=3.0, differs=differs, kept=True)
    assert live.state(0.0).risk == 1.0
    assert STRETCH <= live.state(0.0).audited <= 2 * STRETCH


def test_what_is_pending_is_bounded() -> None:
    live = _live()
    for _ in range(MOST_PENDING + 50):
        live.draw(0.0)
    state = live.state(0.0)
    assert state.pending == MOST_PENDING
    assert state.missing == 50 > CENSORED * state.audited


@pytest.mark.parametrize(("threshold", "epsilon"), [(None, 0.02), (2.0, None)])
def test_without_calibration_or_epsilon_the_threshold_stays(threshold: float | None, epsilon: float | None) -> None:
    live = LiveRisk.of(threshold=threshold, epsilon=epsilon, follows=True)
    for _ in range(30):
        live.answered(live.draw(0.0), score=9.0, differs=True, kept=True)
    assert live.threshold == threshold
    assert live.state(0.0).epsilon is None


def test_drift_is_learned_then_watched_then_over() -> None:
    steady, random = Steadiness(), np.random.default_rng(4)
    for differs in (random.random(REFERENCE - 1) < 0.05).tolist():
        steady = steady.add(differs)
    assert steady.state == LEARNING
    for differs in (random.random(400) < 0.05).tolist():
        steady = steady.add(differs)
    assert steady.state == STEADY
    delay = 0
    while steady.state != ALARM:
        steady, delay = steady.add(bool(random.random() < 0.5)), delay + 1
    assert delay < 80
    for _ in range(300):
        steady = steady.add(False)
    assert steady.state == STEADY
    assert steady.reference < 0.15


def test_false_drift_alarms_stay_within_what_is_promised() -> None:
    random = np.random.default_rng(6)
    alarms = 0
    for _ in range(20):
        steady = Steadiness()
        for differs in (random.random(600) < 0.15).tolist():
            steady = steady.add(differs)
            alarms += steady.state == ALARM
    assert alarms == 0, "at most 20 * 600 / 10,000 samples are expected to alarm, mostly far fewer"
