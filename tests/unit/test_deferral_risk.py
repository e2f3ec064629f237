"""The bound is exact and monotone; the threshold keeps its promise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.deferral import risk
from shared.errors import InputError
from tests.examples import examples

COUNTS = st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n)))
DELTAS = st.sampled_from([0.001, 0.01, 0.05, 0.2, 0.5])


def _tail(errors: int, n: int, p: float) -> float:
    """P(Binomial(n, p) <= errors), summed term by term in logarithms: slow and independent of the implementation."""
    if p <= 0.0:
        return 1.0
    terms = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
        for k in range(errors + 1)
    ]
    top = max(terms)
    return math.exp(top) * math.fsum(math.exp(term - top) for term in terms)


@given(COUNTS, DELTAS)
@settings(max_examples=examples(60), deadline=None)
def test_the_bound_is_where_the_binomial_tail_meets_delta(counts: tuple[int, int], delta: float) -> None:
    errors, n = counts
    found = risk.bound(errors, n, delta)
    assert _tail(errors, n, found) <= delta * (1 + 1e-6)
    assert _tail(errors, n, found * (1 - 1e-6)) >= delta * (1 - 1e-4)


@given(COUNTS, DELTAS)
@settings(max_examples=examples(100), deadline=None)
def test_the_bound_lies_above_the_rate_and_moves_the_right_way(counts: tuple[int, int], delta: float) -> None:
    errors, n = counts
    found = risk.bound(errors, n, delta)
    assert found <= 1.0
    assert found > errors / n or delta >= 0.5
    assert risk.bound(errors + 1, n, delta) >= found
    assert risk.bound(errors, n + 1, delta) <= found + 1e-12
    assert risk.bound(errors, n, delta / 2) >= found


@given(st.integers(1, 500), st.floats(0.001, 0.5))
def test_without_errors_the_bound_has_a_closed_form(n: int, delta: float) -> None:
    assert risk.bound(0, n, delta) == pytest.approx(1 - delta ** (1 / n), rel=1e-9)


def test_known_values() -> None:
    # exact one-sided bounds, e.g. Clopper and Pearson's 97.5 % limits for 10 of 100: 0.1762226
    assert risk.bound(10, 100, 0.025) == pytest.approx(0.1762226, abs=1e-6)
    assert risk.bound(5, 5, 0.05) == 1.0
    assert risk.bound(0, 0, 0.05) == 1.0


@pytest.mark.parametrize("bad", [(-1, 5, 0.05), (6, 5, 0.05), (1, 5, 0.0), (1, 5, 1.0)])
def test_counts_that_cannot_be_are_refused(bad: tuple[int, int, float]) -> None:
    with pytest.raises(InputError):
        risk.bound(*bad)


def _population(rng: np.random.Generator, n: int) -> tuple[risk.Scores, risk.Flags]:
    scores = rng.uniform(0, 10, n)
    wrong = rng.uniform(size=n) < 0.3 * np.exp(-scores)
    return scores, wrong


def test_the_promise_is_broken_about_as_rarely_as_it_says() -> None:
    pool_scores, pool_wrong = _population(np.random.default_rng(1), 200_000)
    rng, broken, draws = np.random.default_rng(2), 0, 200
    for _ in range(draws):
        pick = rng.integers(0, len(pool_scores), 800)
        found = risk.calibrate(pool_scores[pick], pool_wrong[pick], [str(i) for i in range(800)], 0.01, 0.1)
        assert found is not None
        broken += float((pool_wrong & (pool_scores >= found.threshold)).mean()) > 0.01
    assert broken <= draws * 0.1 + 3 * math.sqrt(draws * 0.1 * 0.9)


def test_the_threshold_is_the_lowest_that_keeps_the_promise() -> None:
    scores, wrong = _population(np.random.default_rng(3), 3000)
    units = [str(i) for i in range(3000)]
    found = risk.calibrate(scores, wrong, units, 0.02, 0.05)
    assert found.risk_bound <= 0.02
    assert (found.units, found.frames) == (3000, 3000)
    errors = int((wrong & (scores >= found.threshold)).sum())
    assert found.risk_bound == risk.bound(errors, 3000, 0.05)
    next_level = scores[wrong & (scores < found.threshold)].max()
    assert risk.bound(int((wrong & (scores >= next_level)).sum()), 3000, 0.05) > 0.02


def test_frames_of_one_unit_do_not_count_as_independent() -> None:
    scores, wrong = _population(np.random.default_rng(4), 4000)
    units = [str(i // 20) for i in range(4000)]
    assert risk.calibrate(scores, wrong, units, 0.01, 0.05) is None  # 200 units prove 0.015 at best
    drawn = risk.calibrate(scores, wrong, units, 0.05, 0.05)
    whole = risk.calibrate(scores, wrong, units, 0.05, 0.05, whole_units=True)
    assert drawn.units == whole.units == 200
    assert whole.threshold >= drawn.threshold


def test_nothing_erring_keeps_everything() -> None:
    found = risk.calibrate(np.array([3.0, 1.0, 2.0] * 200), np.zeros(600, bool), [str(i) for i in range(600)], 0.01, 0.05)
    assert found.threshold == 1.0


def test_equal_scores_on_both_sides_of_the_line_are_not_kept() -> None:
    scores = np.ones(400)
    wrong = np.zeros(400, bool)
    wrong[:100] = True
    found = risk.calibrate(scores, wrong, [str(i) for i in range(400)], 0.01, 0.05)
    assert found.threshold > 1.0
    assert found.risk_bound <= 0.01


def test_a_set_that_does_not_fit_together_is_refused() -> None:
    assert risk.calibrate(np.array([]), np.array([], bool), [], 0.1, 0.1) is None
    with pytest.raises(InputError):
        risk.calibrate(np.array([1.0]), np.array([True, False]), ["a"], 0.1, 0.1)
    with pytest.raises(InputError):
        risk.calibrate(np.array([math.nan]), np.array([True]), ["a"], 0.1, 0.1)
