"""The deferral threshold of a student and the risk it carries. Pure: logits and labels in, the card's calibration out.

Rules, in order:
1. The threshold is chosen on the policy-fit split: the lowest risk whose share of deferred frames stays at or below MOST_DEFERRED
   (risks of LADDER, each with its exact bound; see deferral.risk), and never less than LEAST_DEFERRED.
2. The risk bound in the card is measured on the policy-test split, whose units had no part in the choice: one frame per unit, exact
   binomial bound. So it holds however the threshold was chosen.
3. The curve is that of the policy-test split.
4. A learned score ranks the fit split by models that have not seen each frame's unit (`ranked`; see deferral), the test split by the
   card's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np

from shared.deferral import risk
from shared.deferral.scores import LEARNED, SCORES, Score, named
from shared.errors import InputError
from shared.learning.samples import Labels, Logits
from shared.release.card import Calibration, CurvePoint, LearnedScore

LADDER = (0.0025, 0.005, 0.0075, 0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.07, 0.1)
MOST_DEFERRED = 0.18
"""Of the fit split; streams differ from it, and at most 0.2 is wanted there."""
LEAST_DEFERRED = 0.04
SCORE = "margin"
CURVE_SHARES = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What both models say on a split: logits float32 (N, C) of each, the labels int64 (N), the units (N)."""

    student: Logits
    expert: Logits
    labels: Labels
    units: tuple[str, ...]

    def taken(self, picked: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> Answers:
        """Return the answers on the frames at these indices."""
        return Answers(
            student=self.student[picked],
            expert=self.expert[picked],
            labels=self.labels[picked],
            units=tuple(self.units[int(index)] for index in picked),
        )

    @property
    def gains(self) -> Labels:
        """What the expert's answer changes per frame: 1 where it alone is right, -1 where the student alone is, else 0."""
        student, expert = self.student.argmax(axis=1) == self.labels, self.expert.argmax(axis=1) == self.labels
        return np.asarray(expert.astype(np.int64) - student.astype(np.int64))

    @property
    def missed(self) -> risk.Flags:
        """Where keeping the frame would lose: the student is wrong and the expert right."""
        return np.asarray((self.student.argmax(axis=1) != self.labels) & (self.expert.argmax(axis=1) == self.labels))


class System(msgspec.Struct, frozen=True, kw_only=True):
    """What the whole system does at a threshold: shares and accuracies, 0 to 1."""

    deferred_share: float
    system_accuracy: float
    student_accuracy: float
    expert_accuracy: float

    @property
    def minus_expert(self) -> float:
        """System accuracy minus expert accuracy."""
        return self.system_accuracy - self.expert_accuracy


def system(answers: Answers, threshold: float, score: str = SCORE, model: LearnedScore | None = None) -> System:
    """Return what the system reaches when frames whose score is below `threshold` are answered by the expert."""
    deferred = score_of(score, model)(answers.student) < threshold
    student, expert = answers.student.argmax(axis=1) == answers.labels, answers.expert.argmax(axis=1) == answers.labels
    return System(
        deferred_share=float(deferred.mean()),
        system_accuracy=float(np.where(deferred, expert, student).mean()),
        student_accuracy=float(student.mean()),
        expert_accuracy=float(expert.mean()),
    )


def score_of(name: str, model: LearnedScore | None = None) -> Score:
    """Return the score of that name.

    Raises:
        InputError: there is none, or it is `learned` and has no model.
    """
    found = named(name, model)
    if found is None:
        raise InputError(f"there is no score {name}.", f"Take one of: {', '.join(SCORES)}; or {LEARNED} with its model.")
    return found


def choose(fit: Answers, *, delta: float, score: str = SCORE, ranked: risk.Scores | None = None) -> tuple[float, float]:
    """Return the threshold and the risk asked for (rule 1).

    Args:
        fit: the policy-fit split.
        delta: the chance that a bound is broken.
        score: a name of deferral.scores.
        ranked: the frames' scores, float64 (N), where they are not simply the score's (rule 4).
    """
    scores = score_of(score)(fit.student) if ranked is None else ranked
    least, most = float(np.quantile(scores, LEAST_DEFERRED)), float(np.quantile(scores, MOST_DEFERRED))
    for epsilon in LADDER:
        found = risk.calibrate(scores, fit.missed, fit.units, epsilon, delta, score=score)
        if found is not None and found.threshold <= most:
            return max(found.threshold, least), epsilon
    return most, LADDER[-1]


def calibration(
    fit: Answers,
    test: Answers,
    *,
    delta: float = 0.05,
    score: str = SCORE,
    ranked: risk.Scores | None = None,
    model: LearnedScore | None = None,
) -> Calibration:
    """Return the card's calibration (rules 1 and 2).

    Args:
        fit: both models on the policy-fit split.
        test: both models on the policy-test split.
        delta: the chance that the bound is broken.
        score: a name of deferral.scores.
        ranked: as for `choose`.
        model: of the score `learned`.
    """
    threshold, epsilon = choose(fit, delta=delta, score=score, ranked=ranked)
    return bounded(threshold, epsilon, test, delta=delta, score=score, model=model)


def bounded(
    threshold: float, epsilon: float, test: Answers, *, delta: float = 0.05, score: str = SCORE, model: LearnedScore | None = None
) -> Calibration:
    """Return a calibration with the exact bound of a threshold that was chosen elsewhere (rule 2)."""
    kept = score_of(score, model)(test.student) >= threshold
    lost = (kept & test.missed)[one_per_unit(test.units)]
    return measured(threshold, epsilon, lost, frames=len(test.labels), delta=delta, score=score, model=model)


def measured(
    threshold: float, epsilon: float, lost: risk.Flags, *, frames: int, delta: float, score: str, model: LearnedScore | None = None
) -> Calibration:
    """Return the calibration of a threshold with its exact bound (rule 2).

    Args:
        threshold: in the unit of the score.
        epsilon: the risk that was asked for.
        lost: whether each unit's frame was kept, wrong and right at the expert; bool (units).
        frames: of the split, all units' together.
        delta: the chance that the bound is broken.
        score: its name.
        model: of a learned score.
    """
    return Calibration(
        score=score,
        threshold=threshold,
        epsilon=epsilon,
        delta=delta,
        risk_bound=risk.bound(int(lost.sum()), len(lost), delta),
        units=len(lost),
        frames=frames,
        learned=model,
    )


def curve(test: Answers, score: str = SCORE, model: LearnedScore | None = None) -> tuple[CurvePoint, ...]:
    """Return the deferral curve: what the system reaches at each share of CURVE_SHARES."""
    scores = score_of(score, model)(test.student)
    points = []
    for share in CURVE_SHARES:
        threshold = float(np.quantile(scores, share)) if share else float(scores.min())
        reached = system(test, threshold, score, model)
        points.append(CurvePoint(threshold=threshold, deferred_share=reached.deferred_share, system_accuracy=reached.system_accuracy))
    return tuple(points)


def one_per_unit(units: Sequence[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    """Return the index of one frame per unit, drawn by hash of the unit's name."""
    places: dict[str, list[int]] = {}
    for place, unit in enumerate(units):
        places.setdefault(unit, []).append(place)
    return np.array([own[_draw(unit) % len(own)] for unit, own in places.items()], np.intp)


def _draw(unit: str) -> int:
    return int.from_bytes(hashlib.sha256(f"terrace/1/bound/{unit}".encode()).digest()[:8], "big")
