"""What the rivals rank frames by, from their public description, and the two ends no rule can leave. Pure.

KubeEdge Sedna's hard-example mining (docs of `hard_example_mining`): *CrossEntropy* calls a frame hard when 1 + sum(p ln p) / ln(n) lies
below a threshold (0.5 by default), which ranks by entropy; *IBT* when the share of results with a score at or below 0.5 is large,
which for one result ranks by the highest probability. Both have fixed thresholds and no promise; here each is given its best: the order.

Higher is surer, as in deferral.scores.
"""

from __future__ import annotations

import numpy as np

from cloud.foundry.calibrate import Answers
from cloud.foundry.ranking import Numbers
from shared.vision.tasks.logits import softmax

CROSS_ENTROPY, IBT = "sedna cross-entropy", "sedna ibt"
DEFAULT = 0.5
"""Sedna's default threshold of either rule."""


def cross_entropy(answers: Answers) -> Numbers:
    """Return 1 + sum(p ln p) / ln(n), 0 (all alike) to 1 (certain), float64 (N)."""
    chances = softmax(answers.student)
    return np.asarray(1.0 + (chances * np.log(np.maximum(chances, 1e-300))).sum(axis=1) / np.log(chances.shape[1]))


def ibt(answers: Answers) -> Numbers:
    """Return the highest probability, float64 (N)."""
    return np.asarray(softmax(answers.student).max(axis=1))


def oracle(answers: Answers) -> Numbers:
    """Return an order nobody can know: first the frames only the expert has right, last those only the student has."""
    return -answers.gains.astype(np.float64)


RULES = {CROSS_ENTROPY: cross_entropy, IBT: ibt}
