"""A learned score: a logistic regression on what a student's logits look like, fitted in the foundry, carried in the card. Pure numpy.

Rules, in order:
1. The inputs are statistics of the logits (STATISTICS), each with a weight, and one number per pair of likeliest class and runner-up:
   a student's doubt between two classes the expert tells apart is worth more than the same doubt between two it does not.
2. The regression estimates the log odds that keeping the frame loses (student wrong, expert right). The score is minus that: as in
   every score, higher is surer.
3. A model whose numbers do not fit each other or the network's classes is refused before the first frame.

Not here: fitting (cloud.foundry.deferral), which score a card names (scores).

Example:
    >>> doubt = LearnedScore(weights=(1.0,) + (0.0,) * (len(STATISTICS) - 1), bias=0.0, pairs=(0.0,) * 9)
    >>> score(doubt, np.array([[1.0, 4.0, 2.5]])).tolist()
    [-1.5]
"""

from __future__ import annotations

import math

import numpy as np

from shared.errors import TrustError
from shared.release.card import LearnedScore
from shared.vision.tasks.logits import Classes, Logits, Values

STATISTICS = ("margin", "second_gap", "highest", "energy", "confidence", "probability_margin", "entropy", "root_margin")
"""In the order of a model's weights: highest logit less the second; second less the third (0 with two classes); the highest;
logarithm of the sum of exponentials; highest probability; the two highest probabilities' difference; entropy in nats; the margin's
square root."""
MOST_CLASSES = 16
"""Up to this many classes the pairs have numbers of their own; with more, `pairs` is empty."""


def statistics(logits: Logits) -> Values:
    """Return the statistics of logits (N, C), C at least 2: float64 (N, len(STATISTICS))."""
    values = np.sort(logits.astype(np.float64), axis=1)[:, ::-1]
    highest, second = values[:, 0], values[:, 1]
    third = values[:, 2] if values.shape[1] > 2 else second
    weights = np.exp(values - highest[:, None])
    total = weights.sum(axis=1)
    chances = weights / total[:, None]
    entropy = np.log(total) - ((values - highest[:, None]) * chances).sum(axis=1)
    margin = highest - second
    columns = (
        margin,
        second - third,
        highest,
        highest + np.log(total),
        chances[:, 0],
        chances[:, 0] - chances[:, 1],
        entropy,
        np.sqrt(margin),
    )
    return np.stack(columns, axis=1)


def pair(logits: Logits) -> Classes:
    """Return the place of each row's likeliest class and runner-up in `pairs`: first times C plus second, int64 (N)."""
    order = np.argsort(logits, axis=1, kind="stable")
    return np.asarray(order[:, -1] * logits.shape[1] + order[:, -2], np.int64)


def score(model: LearnedScore, logits: Logits) -> Values:
    """Return how sure each row looks: minus the estimated log odds that keeping it loses, float64 (N).

    Args:
        model: of a card; see `fits`.
        logits: (N, C).
    """
    odds = statistics(logits) @ np.array(model.weights, np.float64) + model.bias
    if model.pairs:
        odds += np.array(model.pairs, np.float64)[pair(logits)]
    return np.asarray(-odds)


def check(model: LearnedScore, classes: int) -> None:
    """Refuse a model that cannot be evaluated (rule 3).

    Args:
        model: the card's.
        classes: how many labels the card has.

    Raises:
        TrustError: its lengths fit neither this code nor the classes, or a number is not finite.
    """
    lengths = (len(model.weights), len(model.pairs))
    wanted = classes * classes if classes <= MOST_CLASSES else 0
    if classes < 2 or lengths[0] != len(STATISTICS) or lengths[1] not in {0, wanted}:
        raise TrustError(f"the card's learned score has {lengths[0]} weights and {lengths[1]} pairs for {classes} classes.")
    if not all(math.isfinite(value) for value in (*model.weights, *model.pairs, model.bias)):
        raise TrustError("the card's learned score has a number that is not finite.")
