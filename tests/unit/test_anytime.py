"""The interval that may be looked at after every value: it covers at every moment together, also when the mean moves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.deferral.anytime import interval


@given(st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 200))
def test_it_holds_the_share_that_was_seen_whatever_the_missing_would_have_said(ones: int, zeros: int, missing: int) -> None:
    low, high = interval(ones=ones, n=ones + zeros, missing=missing)
    assert 0.0 <= low <= high <= 1.0
    for others in {0, missing // 2, missing}:
        total = ones + zeros + missing
        if total:
            assert low <= (ones + others) / total + 1e-9
            assert high >= (ones + others) / total - 1e-9


@pytest.mark.parametrize("mean", [0.01, 0.05, 0.3])
def test_the_chance_that_it_ever_misses_is_at_most_alpha_summed_over_every_outcome(mean: float) -> None:
    outside = 0.0
    inside = {0: 1.0}
    for n in range(1, 61):
        reached: dict[int, float] = {}
        for ones, weight in inside.items():
            reached[ones] = reached.get(ones, 0.0) + weight * (1.0 - mean)
            reached[ones + 1] = reached.get(ones + 1, 0.0) + weight * mean
        inside = {}
        for ones, weight in reached.items():
            low, high = interval(ones=ones, n=n, alpha=0.1)
            if low <= mean <= high:
                inside[ones] = weight
            else:
                outside += weight
    assert outside <= 0.1
    assert sum(inside.values()) + outside == pytest.approx(1.0)


def test_it_covers_the_average_of_a_mean_that_follows_what_was_seen() -> None:
    random = np.random.default_rng(3)
    looks = {3, 10, 30, 100, 300, 400, 600}
    misses = 0
    for _ in range(100):
        ones, promised, missed = 0, 0.0, False
        for n in range(1, 601):
            mean = 0.01 if ones > 0.05 * n else 0.15 if n > 300 else 0.05
            ones, promised = ones + bool(random.random() < mean), promised + mean
            if n in looks:
                low, high = interval(ones=ones, n=n, alpha=0.1)
                missed = missed or not low <= promised / n <= high
        misses += missed
    assert misses <= 10


def test_many_values_make_it_narrow_and_missing_ones_wide() -> None:
    low, high = interval(ones=20, n=1000)
    assert high - low < 0.03
    assert interval(ones=20, n=1000, missing=50)[1] > 0.06
    assert interval(ones=0, n=0) == (0.0, 1.0)


@pytest.mark.parametrize(("ones", "n", "missing"), [(2, 1, 0), (-1, 1, 0), (0, 1, -1)])
def test_counts_that_cannot_be_are_a_defect(ones: int, n: int, missing: int) -> None:
    with pytest.raises(ValueError, match="ones of"):
        interval(ones=ones, n=n, missing=missing)
