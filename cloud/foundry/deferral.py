"""Fits a learned score on the policy-fit split, and takes it only where it beats the margin on units it has not seen. Pure numpy.

Rules, in order:
1. What is learned is whether keeping a frame loses (student wrong, expert right), by logistic regression with a Gaussian prior,
   Newton's method (Bishop 2006, section 4.3.3). Turned copies of a frame share its weight, so that one frame counts once.
2. The fit split is cut into FOLDS by hash of the unit's name; every frame is scored by the model that has not seen its unit. The
   threshold is chosen on these scores, because a model is too sure of what it was fitted on.
3. The learned score is preferred when the system's mean gain over deferred shares up to MOST_DEFERRED exceeds the margin's on these
   scores, the one-sided 95 % bootstrap over units included. Else the card says `margin`: fewer numbers, and no worse.
4. With fewer than FEWEST_LOSSES frames to learn from there is nothing to fit.

Not here: the threshold and its bound (calibrate), evaluation (shared.deferral.learned).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np

from cloud.foundry.calibrate import MOST_DEFERRED, Answers
from cloud.foundry.ranking import Numbers, Ranking, draws
from shared.deferral import learned
from shared.deferral.scores import LEARNED, SCORES
from shared.release.card import LearnedScore

FOLDS = 5
FEWEST_LOSSES = 20
DRAWS = 500
PRIOR, PAIR_PRIOR = 1.0, 4.0
"""Inverse variances of the weights (of standardised statistics) and of the pairs' numbers; 4 means log odds within half a unit or so."""
NEWTON_STEPS = 25
RIVAL = "margin"


class Preference(msgspec.Struct, frozen=True, kw_only=True):
    """Which score a card should name: `model` is None for the margin; `scores` (N) rank the fit split, each by rule 2.

    `gain` is how much larger the learned score's mean gain was than the margin's (share of frames), `low` its one-sided lower bound.
    """

    scores: Numbers
    model: LearnedScore | None = None
    gain: float = 0.0
    low: float = 0.0

    @property
    def name(self) -> str:
        """The score's name for the card."""
        return RIVAL if self.model is None else LEARNED


def preferred(fit: Answers, turns: Sequence[Answers] = ()) -> Preference:
    """Return the better of margin and learned score (rules 2 to 4).

    Args:
        fit: both models on the policy-fit split.
        turns: the same frames turned, in the same order.
    """
    margin = SCORES[RIVAL](fit.student)
    if int(fit.missed.sum()) < FEWEST_LOSSES or fit.student.shape[1] < 2:
        return Preference(scores=margin)
    crossed = crossed_scores(fit, turns)
    weights = draws(fit.units, DRAWS)
    more = Ranking.of(crossed, fit.gains, weights).area(MOST_DEFERRED) - Ranking.of(margin, fit.gains, weights).area(MOST_DEFERRED)
    gain = Ranking.of(crossed, fit.gains).area(MOST_DEFERRED) - Ranking.of(margin, fit.gains).area(MOST_DEFERRED)
    low = float(np.quantile(more, 0.05))
    if low <= 0.0:
        return Preference(scores=margin, gain=float(gain[0]), low=low)
    return Preference(scores=crossed, model=fitted([fit, *turns]), gain=float(gain[0]), low=low)


def crossed_scores(fit: Answers, turns: Sequence[Answers] = ()) -> Numbers:
    """Return each frame's score by a model that was fitted without its unit's fold (rule 2), float64 (N)."""
    folds, scores = np.array([_fold(unit) for unit in fit.units]), np.zeros(len(fit.units))
    for fold in np.unique(folds):
        own, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        model = fitted([one.taken(others) for one in (fit, *turns)])
        scores[own] = learned.score(model, fit.student[own])
    return scores


def fitted(seen: Sequence[Answers]) -> LearnedScore:
    """Return the regression of rule 1 on frames and their turned copies; all zero but the bias where nothing is lost."""
    logits, lost = np.concatenate([one.student for one in seen]), np.concatenate([one.missed for one in seen])
    statistics, classes = learned.statistics(logits), logits.shape[1]
    mean, spread = statistics.mean(axis=0), statistics.std(axis=0) + 1e-9
    count = len(learned.STATISTICS)
    columns = [np.ones((len(logits), 1)), (statistics - mean) / spread]
    if classes <= learned.MOST_CLASSES:
        columns.append(np.eye(classes * classes)[learned.pair(logits)])
    prior = np.concatenate([[1e-6], np.full(count, PRIOR), np.full(classes * classes * (len(columns) - 2), PAIR_PRIOR)])
    found = _newton(np.concatenate(columns, axis=1), lost.astype(np.float64), prior, weight=1.0 / len(seen))
    weights = found[1 : 1 + count] / spread
    return LearnedScore(
        weights=tuple(float(value) for value in weights),
        bias=float(found[0] - weights @ mean),
        pairs=tuple(float(value) for value in found[1 + count :]),
    )


def _newton(inputs: Numbers, lost: Numbers, prior: Numbers, *, weight: float) -> Numbers:
    """Return the coefficients that maximise the posterior; a step is halved until it improves."""
    found = np.zeros(inputs.shape[1])
    value = _objective(inputs, lost, prior, weight, found)
    for _ in range(NEWTON_STEPS):
        chances = 1.0 / (1.0 + np.exp(-np.clip(inputs @ found, -30.0, 30.0)))
        slope = weight * inputs.T @ (chances - lost) + prior * found
        curvature = weight * (inputs * (chances * (1.0 - chances))[:, None]).T @ inputs + np.diag(prior)
        step = np.linalg.solve(curvature, slope)
        while (after := _objective(inputs, lost, prior, weight, found - step)) > value and np.abs(step).max() > 1e-9:
            step = 0.5 * step
        if value - after < 1e-9 * abs(value):
            break
        found, value = found - step, after
    return found


def _objective(inputs: Numbers, lost: Numbers, prior: Numbers, weight: float, at: Numbers) -> float:
    odds = inputs @ at
    return float(weight * (np.logaddexp(0.0, odds) - lost * odds).sum() + 0.5 * (prior * at**2).sum())


def _fold(unit: str) -> int:
    return int.from_bytes(hashlib.sha256(f"terrace/1/fold/{unit}".encode()).digest()[:8], "big") % FOLDS
