"""The threshold follows the audit samples: back within epsilon after 10 / epsilon of them, without forwarding much more than an oracle."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.deferral.adaptive import Follower, allowed_errors, window_of

EPSILON = 0.02
GRID = np.linspace(0.0, 1.0, 2001)


class World(NamedTuple):
    """How sure frames look (a power of a uniform share) and how often student and expert differ at a score: halving, and a floor."""

    differing: float = 1.3
    halving: float = 0.08
    blur: float = 0.0
    lies: float = 0.0

    def scores(self, shares: np.ndarray) -> np.ndarray:
        return shares ** (1.0 + self.blur)

    def chance(self, scores: np.ndarray) -> np.ndarray:
        return np.minimum(0.6, self.differing * 2.0 ** (-scores / self.halving)) * (1.0 - self.lies) + self.lies

    def risk(self, threshold: float) -> float:
        scores = self.scores(GRID)
        return float(np.where(scores >= threshold, self.chance(scores), 0.0).mean())

    def forwarded(self, threshold: float) -> float:
        return float((self.scores(GRID) < threshold).mean())

    def oracle(self, epsilon: float) -> float:
        scores = self.scores(GRID)
        risks = np.cumsum(self.chance(scores)[::-1])[::-1] / len(GRID)
        return float(scores[int(np.argmax(risks <= epsilon))])


BEFORE = World()
AFTER = {
    "nothing changes": World(),
    "easier": World(differing=0.9),
    "a harder test split": World(differing=1.5),
    "twice the errors": World(differing=2.6),
    "blurred": World(differing=1.8, blur=1.0),
    "one sure answer in a hundred is wrong": World(lies=0.01),
    "confidence lies": World(lies=0.05),
}


def _follow(after: World, random: np.random.Generator, *, audits_before: int) -> list[float]:
    """Return the thresholds at ten moments after the 10 / epsilon-th audit since a change."""
    follower = Follower.of(start=BEFORE.oracle(0.8 * EPSILON), epsilon=EPSILON)
    follower.add_many(_samples(BEFORE, audits_before, random))
    follower.add_many(_samples(after, window_of(EPSILON), random))
    return [follower.add_many(_samples(after, 25, random)) for _ in range(10)]


def _samples(world: World, count: int, random: np.random.Generator) -> list[tuple[float, bool]]:
    scores = world.scores(random.random(count))
    return list(zip(scores.tolist(), (random.random(count) < world.chance(scores)).tolist(), strict=True))


@pytest.mark.parametrize("name", AFTER)
def test_after_ten_over_epsilon_audits_the_risk_is_back_and_forwards_stay_near_an_oracles(name: str) -> None:
    random, after = np.random.default_rng(7), AFTER[name]
    thresholds = [one for _ in range(12) for one in _follow(after, random, audits_before=300)]
    risks = np.array([after.risk(one) for one in thresholds])
    forwarded = float(np.mean([after.forwarded(one) for one in thresholds]))
    assert risks.mean() <= EPSILON
    assert np.maximum(risks - EPSILON, 0.0).mean() <= 0.003
    assert forwarded <= 1.5 * after.forwarded(after.oracle(EPSILON))


def test_it_begins_where_the_card_says_and_moves_a_little_for_a_few_samples() -> None:
    follower = Follower.of(start=2.0, epsilon=EPSILON)
    assert follower.threshold == 2.0
    for score in np.linspace(0.0, 10.0, 40).tolist():
        follower.add(score, False)
    assert 1.0 < follower.threshold <= 2.0, "forty samples without an error do not lower it far"
    follower.add(9.0, True)
    assert follower.threshold < 4.0, "nor does one confident error raise it to itself"


def test_confident_errors_raise_it_above_them_within_a_few_dozen() -> None:
    follower = Follower.of(start=2.0, epsilon=EPSILON)
    random = np.random.default_rng(1)
    for _ in range(60):
        follower.add(5.0 + random.random(), bool(random.random() < 0.5))
    assert follower.threshold > 5.5


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-50, 50),
    st.sampled_from([0.05, 0.1, 0.3]),
    st.lists(st.tuples(st.floats(allow_nan=True, allow_infinity=True), st.booleans()), max_size=250),
)
def test_a_full_window_never_keeps_more_errors_than_allowed(start: float, epsilon: float, samples: list[tuple[float, bool]]) -> None:
    follower = Follower.of(start=start, epsilon=epsilon)
    for score, differs in samples:
        threshold = follower.add(score, differs)
        assert math.isfinite(threshold)
    newest = samples[-window_of(epsilon) :]
    if len(newest) == window_of(epsilon):
        kept_wrong = sum(differs and math.isfinite(score) and score >= threshold for score, differs in newest)
        assert kept_wrong <= allowed_errors(window_of(epsilon), epsilon)


def test_window_and_allowance() -> None:
    assert [window_of(epsilon) for epsilon in (0.02, 0.01, 0.5, 1e-9)] == [500, 1000, 20, 8192]
    assert allowed_errors(500, 0.02) == 8
    assert allowed_errors(8192, 1e-9) == 0
    with pytest.raises(ValueError, match="epsilon"):
        Follower.of(start=0.0, epsilon=0.0)
