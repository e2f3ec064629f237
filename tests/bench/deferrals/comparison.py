"""Our order of frames against the rivals', on one data set: figures with intervals over students and units. Pure.

Rules, in order:
1. A draw takes as many students as there are, with replacement, and whole units, the same for every order: differences are paired.
2. Rivals are compared by the mean over students; "the best Sedna rule" is the one with fewer forwards on this very test list.
3. An order may come with answers of its own (a second look): its gain counts from the student's first answers, as everyone's does.
4. `saved` is the share of that rule's forwards we do not need for closing CLOSED of the gap between student and expert.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from cloud.foundry.calibrate import Answers
from cloud.foundry.ranking import Numbers, Ranking, draws
from tests.bench.deferrals import rivals

CLOSED = 0.8
AT = 0.1
MOST = 0.5
DRAWS = 400
OURS, MARGIN, ORACLE = "terrace", "margin", "oracle"
LOOKED = ", second look"
"""Behind the name of a rival that is given our second look."""
CURVE_SHARES = tuple(float(share) for share in np.linspace(0.0, MOST, 251))


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One order on one data set: per draw (first the whole list, then DRAWS resampled) what it reaches, each (1 + DRAWS)."""

    needed: Numbers
    at_share: Numbers
    area: Numbers
    curve: Numbers


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A data set's orders by name, the expert's gain over the student per draw, and the student's mean accuracy."""

    data: str
    orders: dict[str, Order]
    whole: Numbers
    student: float

    def rival(self, suffix: str = "") -> str:
        """Return the best Sedna rule (rule 2); `suffix` chooses variants of them."""
        return min((name + suffix for name in rivals.RULES), key=lambda name: self.orders[name].needed[0])

    def saved(self, suffix: str = "") -> Numbers:
        """Return rule 4 per draw; where the rival needs none, 0 if we need none either, else minus infinity."""
        ours, theirs = self.orders[OURS].needed, self.orders[self.rival(suffix)].needed
        none = np.where(ours > 0.0, -np.inf, 0.0)
        return np.asarray(np.where(theirs > 0.0, 1.0 - ours / np.where(theirs > 0.0, theirs, 1.0), none))

    def of_oracle(self) -> Numbers:
        """Return the share of the oracle's gain at AT forwarded, per draw."""
        return self.orders[OURS].at_share / self.orders[ORACLE].at_share

    def over_random(self, name: str) -> Numbers:
        """Return the mean gain up to MOST forwarded beyond that of a random order (a straight line), per draw, as a share of frames."""
        return self.orders[name].area - self.whole * MOST / 2.0


Orders = Mapping[str, tuple[Answers, Numbers]]
"""By name: the answers an order starts from, and the scores it orders by."""


def compare(data: str, students: Sequence[tuple[Answers, Orders]]) -> Comparison:
    """Compare the orders of several students.

    Args:
        data: the data set's name.
        students: per student what it and the expert answer at first, and the orders; all on the same frames.
    """
    units = students[0][0].units
    weights = np.concatenate([np.ones((1, len(units))), draws(units, DRAWS)])
    picked = students_drawn(len(students))
    found: dict[str, list[Order]] = {}
    wholes = []
    for first, given in students:
        whole = Ranking.of(np.zeros(len(first.units)), first.gains, weights).all
        for name, (answers, scores) in given.items():
            found.setdefault(name, []).append(
                _order(_from_first(Ranking.of(scores, answers.gains, weights), answers, first, weights), whole)
            )
        wholes.append(whole)
    orders = {name: _mean(each, picked) for name, each in found.items()}
    right = [float((answers.student.argmax(axis=1) == answers.labels).mean()) for answers, _ in students]
    return Comparison(data=data, orders=orders, whole=over(np.stack(wholes), picked), student=float(np.mean(right)))


def interval(values: Numbers) -> tuple[float, float, float]:
    """Return a figure and its 95 % percentile interval from draws whose first is the whole list; a draw may be infinite."""
    low, high = np.quantile(values[1:], [0.025, 0.975], method="nearest")
    return float(values[0]), float(low), float(high)


def _from_first(ranking: Ranking, answers: Answers, first: Answers, weights: Numbers) -> Ranking:
    """Return the ranking with its gains counted from the first answers (rule 3)."""
    own, before = (one.student.argmax(axis=1) == one.labels for one in (answers, first))
    alone = (weights * (own.astype(np.float64) - before)).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
    return Ranking(share=ranking.share, gain=ranking.gain + alone)


def _order(ranking: Ranking, whole: Numbers) -> Order:
    return Order(
        needed=ranking.needed(CLOSED * whole),
        at_share=ranking.gained((AT,))[:, 0],
        area=ranking.area(MOST),
        curve=Ranking(share=ranking.share[:1], gain=ranking.gain[:1]).gained(CURVE_SHARES),
    )


def students_drawn(count: int, draws: int = DRAWS) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return which students each draw takes, (1 + draws, count); the first takes each once."""
    drawn = np.random.default_rng(7).integers(0, count, (draws, count))
    return np.concatenate([np.arange(count)[None], drawn])


def _mean(each: Sequence[Order], picked: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Order:
    needed, at_share, area = (over(np.stack([getattr(one, name) for one in each]), picked) for name in ("needed", "at_share", "area"))
    return Order(needed=needed, at_share=at_share, area=area, curve=np.mean([one.curve[0] for one in each], axis=0))


def over(values: Numbers, picked: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Numbers:
    """Return the mean over each draw's students of (students, draws) values."""
    return np.asarray(np.take_along_axis(values.T, picked, axis=1).mean(axis=1))
