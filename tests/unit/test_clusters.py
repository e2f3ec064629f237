"""Devices as clusters: how often the test is wrong when devices differ, when it may look, and Student's quantiles under it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.clusters import GROWTH, LEAST_DEVICES, ClusterRule, Clusters, Compared, weigh, weigh_counts
from cloud.student_t import quantile, tail

RULE = ClusterRule()
CHURN = 0.03


def counted(losses: np.ndarray[tuple[int, ...], np.dtype[np.float64]], samples: int, random: np.random.Generator) -> np.ndarray:  # type: ignore[type-arg]
    only_before, only_new = CHURN + np.maximum(losses, 0), CHURN + np.maximum(-losses, 0)
    lost = random.binomial(samples, only_before)
    won = random.binomial(samples - lost, only_new / (1 - only_before))
    return np.stack([np.full(len(losses), samples), lost, won], axis=1).astype(np.float64)


def watched(loss: float, *, devices: int, spread: float, seed: int, looks: int = 12) -> Clusters:
    """Watch a cohort drawn from devices whose losses differ; every look has half as many samples again. Returns the first decision."""
    random = np.random.default_rng(seed)
    losses, counts, found = random.normal(loss, spread, devices), np.zeros((devices, 3)), Clusters()
    for look in range(looks):
        counts += counted(losses, int(20 * 1.5**look), random)
        found = weigh_counts(counts, RULE, found)
        if found.worse:
            return found
    return found


@pytest.mark.parametrize("devices", [5, 30, 100])
def test_a_release_at_the_edge_of_what_is_tolerated_is_hardly_ever_called_worse(devices: int) -> None:
    runs = 400
    wrong = sum(watched(RULE.tolerated, devices=devices, spread=0.05, seed=seed).worse for seed in range(runs))
    assert wrong / runs <= RULE.false_stop + 3 * (RULE.false_stop / runs) ** 0.5


def test_three_points_are_found_with_some_hundred_devices_and_never_with_five() -> None:
    assert sum(watched(0.03, devices=400, spread=0.05, seed=seed).worse for seed in range(100)) >= 98
    assert sum(watched(0.03, devices=5, spread=0.05, seed=seed).worse for seed in range(100)) <= 2


def test_a_good_release_is_called_sound_with_some_hundred_devices_and_a_bad_one_hardly_ever() -> None:
    assert sum(watched(0.0, devices=200, spread=0.05, seed=seed).sound for seed in range(100)) >= 95
    assert sum(watched(RULE.excluded, devices=200, spread=0.05, seed=seed).sound for seed in range(100)) <= 100 * RULE.missed


def test_there_is_no_look_before_a_quarter_more_samples_have_come() -> None:
    first = weigh([Compared(compared=100, lost=2, won=2)] * 10, RULE, Clusters())
    assert (first.looks, first.devices, first.compared) == (1, 10, 1000)
    assert weigh([Compared(compared=120, lost=60, won=0)] * 10, RULE, first) is first
    again = weigh([Compared(compared=int(100 * GROWTH), lost=60, won=0)] * 10, RULE, first)
    assert again.looks == 2
    assert again.worse


def test_devices_with_few_samples_and_fleets_with_few_devices_say_nothing() -> None:
    assert weigh([Compared(compared=RULE.least_compared - 1, lost=9)] * 100, RULE, Clusters()) == Clusters()
    assert weigh([Compared(compared=100, lost=90)] * (LEAST_DEVICES - 1), RULE, Clusters()) == Clusters()
    assert weigh([], RULE, Clusters()) == Clusters()


def test_no_spread_is_not_certainty() -> None:
    found = weigh([Compared(compared=20)] * 3, RULE, Clusters())
    assert not found.sound
    assert found.high > 0.03


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 250), st.integers(0, 250)), max_size=30))
def test_the_mean_lies_between_its_ends_and_no_release_is_both_worse_and_sound(said: list[tuple[int, int, int]]) -> None:
    found = weigh([Compared(compared=max(n, lost + won), lost=lost, won=won) for n, lost, won in said], RULE, Clusters())
    assert found.low <= found.loss <= found.high
    assert not (found.worse and found.sound)


@pytest.mark.parametrize(
    ("probability", "freedom", "value"),
    [(0.025, 1, 12.706), (0.025, 2, 4.303), (0.025, 10, 2.228), (0.005, 4, 4.604), (0.0005, 30, 3.646), (0.025, 10**5, 1.960)],
)
def test_quantiles_are_those_of_the_tables(probability: float, freedom: int, value: float) -> None:
    assert quantile(probability, freedom) == pytest.approx(value, abs=6e-4)
    assert tail(quantile(probability, freedom), freedom) == pytest.approx(probability, rel=1e-6)
