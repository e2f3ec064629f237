"""How sure a classification looks, from its logits alone. In every score higher is surer; a card names the one it was calibrated for.

A card's own regression is the score `learned` (see learned); it takes margin's place only where it was better on units held out.

`margin` is the default: ranking by logit margin needs 14 to 43 % fewer forwarded frames than entropy for the same accuracy
(docs/benchmarks.md). The others stand beside it as rivals.

Example:
    >>> SCORES["margin"](np.array([[1.0, 4.0, 2.5]])).tolist()
    [1.5]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from shared.deferral import learned
from shared.errors import EngineError, TrustError
from shared.release.card import Calibration, Card, LearnedScore
from shared.vision.tasks.logits import Logits, Values, softmax

SMALL = 256
"""Up to this many logits plain Python is faster than numpy's partition right after a network has emptied the caches; the results are
equal to the last bit."""


def margin(logits: Logits) -> Values:
    """Return the highest logit minus the second highest, float64 of shape (N)."""
    return _gap(logits.astype(np.float64))


def probability_margin(logits: Logits) -> Values:
    """Return the highest class probability minus the second highest, 0 to 1, float64 of shape (N)."""
    return _gap(softmax(logits))


def confidence(logits: Logits) -> Values:
    """Return the highest class probability, float64 of shape (N)."""
    return np.asarray(softmax(logits).max(axis=1))


def negative_entropy(logits: Logits) -> Values:
    """Return minus the entropy of the class probabilities in nats, at most 0, float64 of shape (N)."""
    probabilities = softmax(logits)
    return np.asarray((probabilities * np.log(np.maximum(probabilities, 1e-300))).sum(axis=1))


def _gap(values: Values) -> Values:
    if values.ndim != 2 or values.shape[1] < 2:
        raise EngineError(f"a margin needs logits of at least two classes, not of shape {values.shape}.")
    if values.size <= SMALL:
        return np.array([row_margin(row) for row in values.tolist()], np.float64)
    top = np.partition(values, -2, axis=1)
    return np.asarray(top[:, -1] - top[:, -2])


def row_margin(row: list[float]) -> float:
    """Return the margin of one row of at least two logits, equal to `margin` to the last bit."""
    low, high = sorted(row)[-2:]
    return high - low


Score = Callable[[Logits], Values]
"""Logits (N, C) to float64 (N)."""
DEFAULT = "margin"
LEARNED = "learned"
SCORES: dict[str, Score] = {
    "margin": margin,
    "probability_margin": probability_margin,
    "confidence": confidence,
    "negative_entropy": negative_entropy,
}
"""Every score that needs no model, by the name a card gives it."""


def named(name: str, model: LearnedScore | None = None) -> Score | None:
    """Return a score by name, None where this code does not know it or its model is missing.

    Args:
        name: of SCORES, or `learned`.
        model: the card's, for `learned`.
    """
    if name == LEARNED:
        return None if model is None else partial(learned.score, model)
    return SCORES.get(name)


def of(calibration: Calibration | None) -> Score:
    """Return the score of a card's calibration: the default's where there is none, or where its score is not known here."""
    found = None if calibration is None else named(calibration.score, calibration.learned)
    return found or SCORES[DEFAULT]


def is_known(calibration: Calibration | None) -> bool:
    """Tell whether a calibration's threshold can be used here: its score is one that `named` finds."""
    return calibration is not None and named(calibration.score, calibration.learned) is not None


def check(card: Card) -> None:
    """Refuse a card whose learned score cannot be evaluated on its own classes.

    Raises:
        TrustError: the score is `learned` and its model is missing or does not fit.
    """
    calibration = card.calibration
    if calibration is None or calibration.score != LEARNED:
        return
    if calibration.learned is None:
        raise TrustError("the card names a learned score and has none.")
    learned.check(calibration.learned, len(card.labels))
