"""The byte budget: what is spent stays within the rate, the most valuable frames go first, and nothing is a budget too."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.deferral.budget import HORIZON_S, Bucket, Budget, bucket_per_day, bucket_per_second

CASE = 1000


def _run(budget: Budget, asked: list[tuple[float, float]], size: int = CASE) -> list[float]:
    """Ask for frames of (time, value), pay for those that go; returns the values that went."""
    gone = []
    for now, value in asked:
        if budget.admit(value, now):
            budget.spent(size)
            gone.append(value)
    return gone


def _steady(seconds: int, per_second: int, values: list[float]) -> list[tuple[float, float]]:
    count = seconds * per_second
    return [(place / per_second, values[place % len(values)]) for place in range(count)]


def test_with_enough_everything_goes() -> None:
    budget = Budget(bucket_per_second(20 * CASE))
    assert len(_run(budget, _steady(120, 10, [1.0, 2.0, 3.0]))) == 1200
    assert budget.held_back == 0
    assert budget.state(120.0).use == 1.0


def test_what_is_spent_stays_within_rate_and_depth() -> None:
    budget = Budget(bucket_per_second(2 * CASE))
    gone = _run(budget, _steady(600, 10, [1.0, 2.0, 3.0, 4.0]))
    assert len(gone) * CASE <= 2 * CASE * (600 + HORIZON_S) + CASE
    assert len(gone) >= 0.9 * 2 * 600, "nor is it left lying"
    assert budget.state(600.0).spent == len(gone) * CASE
    assert budget.admitted + budget.held_back == 6000


def test_the_most_valuable_go_first() -> None:
    budget = Budget(bucket_per_second(2 * CASE))
    asked = _steady(600, 10, [float(one) for one in (3, 9, 1, 7, 5, 0, 8, 2, 6, 4)])
    late = _run(budget, asked)[600:]
    assert sum(value >= 8.0 for value in late) >= 0.9 * len(late), "two of ten can be paid for"


def test_the_price_falls_when_less_is_asked_for() -> None:
    budget = Budget(bucket_per_second(2 * CASE))
    _run(budget, _steady(300, 10, [9.0]))
    quiet = [(300.0 + HORIZON_S + place, 0.1) for place in range(300)]
    assert len(_run(budget, quiet)) == 300


def test_nothing_is_a_budget() -> None:
    budget = Budget(bucket_per_second(0.0))
    assert _run(budget, _steady(60, 10, [float("inf")])) == []
    assert budget.held_back == 600
    assert budget.state(60.0).left == 0.0


def test_a_day_may_be_saved_up_but_a_restart_brings_only_a_minute() -> None:
    fresh = bucket_per_day(86_400.0 * CASE)
    assert fresh.left(0.0) == pytest.approx(HORIZON_S * CASE)
    assert fresh.left(86_400.0) == pytest.approx(86_400.0 * CASE)


def test_what_is_never_encoded_is_not_paid_for() -> None:
    budget = Budget(bucket_per_second(5 * CASE))
    assert all(budget.admit(1.0, now / 10.0) for now in range(3)), "admitted, and lost before they were encoded"
    assert budget.state(0.3).left < 300 * CASE
    budget.would_admit(1.0, 60.0)
    assert budget.state(60.0).left == pytest.approx(300 * CASE)


def test_asking_without_taking_costs_nothing() -> None:
    budget = Budget(bucket_per_second(5 * CASE))
    assert all(budget.would_admit(1.0, 0.0) for _ in range(1000))
    assert budget.admitted == 0


@settings(max_examples=50, deadline=None)
@given(
    st.floats(0.0, 1e5),
    st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.0, 100.0), st.integers(1, 20_000)), max_size=60),
)
def test_no_order_of_frames_overspends_by_more_than_one_case(rate: float, frames: list[tuple[float, float, int]]) -> None:
    budget, now, spent = Budget(Bucket(rate=rate, depth=rate * HORIZON_S)), 0.0, 0
    for pause, value, size in frames:
        now += pause
        before = spent
        if budget.admit(value, now):
            budget.spent(size)
            spent += size
            assert before < rate * (HORIZON_S + now) + 1e-6
