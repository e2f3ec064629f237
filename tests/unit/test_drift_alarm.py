"""The drift test: what it costs when nothing has changed (bounded), how soon it sees a change, and that it ends."""

from __future__ import annotations

import itertools
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from region.watch import Judged, Rules, Watch, after
from shared.deferral.drift import DriftDetector, RecoveryDetector, slack_of
from shared.deferral.wager import Wager


def expected(wager: Wager, p: float, low: float, high: float, steps: int) -> float:
    """What the capital is on average after so many values, by going through every sequence of `low` and `high` (probability p)."""
    total = 0.0
    for values in itertools.product((low, high), repeat=steps):
        after_all = wager
        for value in values:
            after_all = after_all.add(value)
        total += after_all.evidence * p ** values.count(high) * (1 - p) ** values.count(low)
    return total


@given(limit=st.floats(0.02, 0.9), share=st.floats(0.0, 1.0), steps=st.integers(1, 7))
def test_no_bet_gains_on_average_while_nothing_has_changed(limit: float, share: float, steps: int) -> None:
    p = share * limit  # the hypothesis allows any mean up to the limit
    assert expected(Wager.of(limit), p, 0.0, 1.0, steps) <= 1.0 + 1e-9
    assert expected(Wager.of(limit, restarting=True), p, 0.0, 1.0, steps) <= steps + 1e-9


@given(limit=st.floats(0.0, 0.5), share=st.floats(0.0, 1.0), steps=st.integers(1, 7))
def test_no_bet_gains_on_average_on_differences(limit: float, share: float, steps: int) -> None:
    p = share * (limit + 1.0) / 2.0  # values -1 and 1 with a mean up to the limit
    assert expected(Wager.of(limit, lowest=-1.0), p, -1.0, 1.0, steps) <= 1.0 + 1e-9


def test_a_limit_at_the_lowest_value_is_a_defect() -> None:
    with pytest.raises(ValueError, match="above"):
        Wager.of(0.0)


def first_alarm(p: float, detector: DriftDetector, seed: int, *, most: int) -> int | None:
    draw = random.Random(seed)
    for number in range(1, most + 1):
        detector = detector.add(draw.random() < p)
        if detector.alarm:
            return number
    return None


def test_false_alarms_within_n_samples_stay_below_n_alpha_at_the_very_limit() -> None:
    alpha, samples, runs = 1e-3, 200, 400
    detector = DriftDetector.of(reference=0.05, slack=0.05, alpha=alpha)
    alarms = sum(first_alarm(detector.limit, detector, seed, most=samples) is not None for seed in range(runs))
    assert alarms / runs <= samples * alpha + 3 * (0.16 / runs) ** 0.5


def test_a_change_is_seen_within_some_dozen_samples() -> None:
    detector = DriftDetector.of(reference=0.06, slack=0.05, alpha=1e-4)
    delays = sorted(first_alarm(0.4, detector, seed, most=1000) or 1000 for seed in range(100))
    assert delays[50] <= 40
    assert delays[95] <= 90


def test_few_reference_samples_leave_more_open() -> None:
    assert slack_of(3, 50, slack=0.05) > slack_of(12, 200, slack=0.05)
    assert slack_of(300, 5000, slack=0.05) == 0.05


def test_recovery_is_believed_when_the_disagreement_is_back() -> None:
    draw = random.Random(3)
    recovery = RecoveryDetector.of(reference=0.06, alarming=0.4, alpha=1e-3)
    for _ in range(300):
        recovery = recovery.add(draw.random() < 0.4)
        assert not recovery.is_back
    taken = 0
    while not recovery.is_back and taken < 200:
        recovery, taken = recovery.add(draw.random() < 0.06), taken + 1
    assert taken < 120


def sample(release: int, wrong: bool, number: int) -> Judged:
    return Judged(device="edge-1", stream="line", unit=str(number), release=release, agrees=not wrong, kept=True)


def through(watch: Watch, release: int, p: float, count: int, *, seed: int = 1, rules: Rules = Rules(), now: float = 7.0) -> Watch:  # noqa: B008
    draw = random.Random(seed)
    for number in range(count):
        watch = after(watch, sample(release, draw.random() < p, number), rules, now=now)
    return watch


def test_a_region_alarms_on_drift_and_is_calm_again_with_a_better_release() -> None:
    calm = through(Watch(), 1, 0.05, 400)
    assert not calm.alarm
    alarmed = through(calm, 1, 0.4, 120, seed=2)
    state = alarmed.state(cases_since=9)
    assert (state.alarm, state.since, state.cases_since) == (True, 7.0, 9)
    assert state.disagreement > 0.25 > state.reference
    assert through(alarmed, 1, 0.4, 300, seed=3).alarm
    again = through(alarmed, 2, 0.05, 300, seed=4)
    assert not again.alarm
    assert again.tracks[2].detector is not None
    assert through(again, 2, 0.4, 120, seed=5).alarm  # no samples had to be learned anew


def test_a_bad_release_is_no_drift() -> None:
    calm = through(Watch(), 1, 0.05, 200)
    watch = calm
    draw = random.Random(5)
    for number in range(300):  # a canary runs release 2, which is wrong half the time, beside devices on release 1
        release = 2 if number % 3 == 0 else 1
        watch = after(watch, sample(release, draw.random() < (0.5 if release == 2 else 0.05), number), Rules(), now=7.0)
    assert not watch.alarm


def test_a_device_that_names_many_releases_leaves_the_watch_small() -> None:
    watch = Watch()
    for number in range(100):
        watch = after(watch, sample(number, False, number), Rules(), now=7.0)
    assert len(msgspec.msgpack.encode(watch)) < 2000


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=60))
def test_a_watch_comes_back_from_its_bytes_as_it_was(samples: list[tuple[int, bool]]) -> None:
    watch = Watch()
    for number, (release, wrong) in enumerate(samples):
        watch = after(watch, sample(release, wrong, number), Rules(reference_samples=5, alpha=0.05), now=7.0)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(watch), type=Watch) == watch
