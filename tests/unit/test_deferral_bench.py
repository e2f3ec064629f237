"""The deferral bench's arithmetic: rivals as described, an oracle nothing beats, paired comparisons, a promise that is counted rightly."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.foundry.calibrate import Answers
from cloud.foundry.ranking import Ranking
from shared.deferral.scores import SCORES
from tests.bench.deferrals import guarantee, rivals
from tests.bench.deferrals.comparison import LOOKED, MARGIN, ORACLE, OURS, compare, interval
from tests.bench.deferrals.picture import draw


def answers(count: int, seed: int) -> Answers:
    """A student that is wrong where its margin is small, and an expert that is right nine times in ten."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    student = random.normal(0, 1, (count, 3))
    student[np.arange(count), labels] += 4 * random.random(count)
    expert = np.eye(3)[np.where(random.random(count) < 0.9, labels, (labels + 1) % 3)] * 4
    units = tuple(f"board-{index // 3}" for index in range(count))
    return Answers(student=student.astype(np.float32), expert=expert.astype(np.float32), labels=labels, units=units)


def orders(one: Answers) -> dict[str, np.ndarray]:
    margin = SCORES["margin"](one.student)
    return {
        OURS: margin,
        MARGIN: margin,
        rivals.CROSS_ENTROPY: rivals.cross_entropy(one),
        rivals.IBT: rivals.ibt(one),
        ORACLE: rivals.oracle(one),
    }


def paired(one: Answers) -> dict[str, tuple[Answers, np.ndarray]]:
    return {name: (one, scores) for name, scores in orders(one).items()}


def looked(one: Answers) -> dict[str, tuple[Answers, np.ndarray]]:
    return {f"{name}{LOOKED}": (one, rule(one)) for name, rule in rivals.RULES.items()}


def test_answers_of_its_own_count_from_the_first_ones() -> None:
    """A student that answers like the expert at its second look has gained all before anything is sent."""
    one = answers(300, 9)
    better = Answers(student=one.expert, expert=one.expert, labels=one.labels, units=one.units)
    compared = compare("deeppcb", [(one, {**paired(one), OURS: (better, SCORES["margin"](better.student))})])
    assert (compared.orders[OURS].needed == 0.0).all()
    assert (compared.saved() == 1.0).all()
    twice = compare("deeppcb", [(one, {**paired(one), OURS: (better, rivals.ibt(better)), **looked(better)})])
    assert (twice.orders[rivals.IBT + LOOKED].needed == 0.0).all(), "a rival that looks twice has gained it too"
    assert (twice.saved(LOOKED) == 0.0).all(), "where nobody needs any, nobody saves"
    np.testing.assert_allclose(compared.orders[OURS].area, compared.whole)


def test_cross_entropy_is_the_described_one() -> None:
    logits = np.log(np.array([[0.5, 0.5], [0.9, 0.1], [1.0, 1e-12]], np.float32))
    one = Answers(student=logits, expert=logits, labels=np.zeros(3, np.int64), units=("a", "b", "c"))
    by_hand = 1.0 + (0.9 * np.log(0.9) + 0.1 * np.log(0.1)) / np.log(2)
    np.testing.assert_allclose(rivals.cross_entropy(one), [0.0, by_hand, 1.0], atol=1e-6)
    np.testing.assert_allclose(rivals.ibt(one), [0.5, 0.9, 1.0], atol=1e-6)


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_no_order_gains_more_than_the_oracle_at_any_share(seed: int) -> None:
    one = answers(60, seed)
    shares = np.linspace(0, 1, 21).tolist()
    best = Ranking.of(rivals.oracle(one), one.gains).gained(shares)
    for name, scores in orders(one).items():
        assert (Ranking.of(scores, one.gains).gained(shares) <= best + 1e-12).all(), name


def test_an_order_against_itself_saves_nothing_and_intervals_hold_their_value() -> None:
    students = [answers(600, seed) for seed in (1, 2, 3)]
    same = {OURS: rivals.ibt, rivals.CROSS_ENTROPY: rivals.ibt}
    compared = compare("deeppcb", [(one, {**paired(one), **{name: (one, rule(one)) for name, rule in same.items()}}) for one in students])
    assert (compared.saved() == 0.0).all()
    value, low, high = interval(compared.of_oracle())
    assert low <= value <= high <= 1.0
    assert compared.over_random(ORACLE)[0] > compared.over_random(OURS)[0] > 0.0
    assert compared.student == pytest.approx(np.mean([(one.student.argmax(axis=1) == one.labels).mean() for one in students]))


def test_the_promise_breaks_about_as_often_as_it_may() -> None:
    one = answers(6000, 4)
    margin = SCORES["margin"](one.student)
    found = guarantee.violations(margin, one.missed, one.units, epsilon=0.05, delta=0.1, draws=200)
    assert found.none == 0
    assert found.broken / found.draws <= 0.16, "10 % may break; 16 % or more would happen once in 250 runs"
    assert 0.0 < found.deferred < 0.9
    careless = guarantee.violations(margin, one.missed, one.units, epsilon=0.05, delta=0.6, draws=200)
    assert careless.broken > found.broken


def test_too_few_units_promise_nothing() -> None:
    one = answers(90, 5)
    found = guarantee.violations(SCORES["margin"](one.student), one.missed, one.units, epsilon=0.01, delta=0.05, draws=5)
    assert (found.none, found.broken, found.promising) == (5, 0, 0)
    assert math.isnan(found.share), "no promise was kept where none was given"
    assert guarantee.Broken(draws=40, broken=3, none=10, deferred=0.1).share == 0.1


def test_the_picture_is_drawn_and_the_same_twice(tmp_path: Path) -> None:
    compared = compare("fashion-mnist", [(one, paired(one)) for one in (answers(200, 1), answers(200, 2))])
    drawn = []
    for name in ("one.svg", "two.svg"):
        draw(tmp_path / name, [compared])
        drawn.append((tmp_path / name).read_bytes())
    assert drawn[0] == drawn[1]
    assert b"Fashion-MNIST" in drawn[0] or b"<path" in drawn[0]
