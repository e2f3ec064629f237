"""The deferral threshold of a network whose answers are judged picture by picture (detection), and the risk it carries. Pure.

The rules are calibrate's: the threshold is chosen on the policy-fit split, its risk bounded on the policy-test split, one picture per unit.
"""

from __future__ import annotations

import msgspec
import numpy as np

from cloud.foundry.calibrate import CURVE_SHARES, LADDER, LEAST_DEFERRED, MOST_DEFERRED, measured, one_per_unit
from shared.deferral import risk
from shared.release.card import Calibration, CurvePoint

Values = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Flags = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A split's pictures, judged: how sure the student looks (higher is surer), whether student and expert are right, the units."""

    scores: Values
    student_right: Flags
    expert_right: Flags
    units: tuple[str, ...]

    @property
    def missed(self) -> Flags:
        """Where keeping the picture would lose: the student is wrong and the expert right."""
        return np.asarray(~self.student_right & self.expert_right)


def calibration(fit: Judged, test: Judged, *, score: str, delta: float = 0.05) -> Calibration:
    """Return the card's calibration.

    Args:
        fit: the policy-fit split: the threshold is chosen on it.
        test: the policy-test split: the bound is measured on it.
        score: the name of the score, for the card.
        delta: the chance that the bound is broken.
    """
    threshold, epsilon = choose(fit, delta=delta, score=score)
    lost = ((test.scores >= threshold) & test.missed)[one_per_unit(test.units)]
    return measured(threshold, epsilon, lost, frames=len(test.units), delta=delta, score=score)


def choose(fit: Judged, *, delta: float, score: str) -> tuple[float, float]:
    """Return the threshold and the risk asked for: the lowest risk of the ladder that defers no more than MOST_DEFERRED."""
    least, most = (float(np.quantile(fit.scores, share)) for share in (LEAST_DEFERRED, MOST_DEFERRED))
    for epsilon in LADDER:
        found = risk.calibrate(fit.scores, fit.missed, fit.units, epsilon, delta, score=score)
        if found is not None and found.threshold <= most:
            return max(found.threshold, least), epsilon
    return most, LADDER[-1]


def curve(test: Judged) -> tuple[CurvePoint, ...]:
    """Return the deferral curve: the share of pictures the system has right at each share of CURVE_SHARES."""
    points = []
    for share in CURVE_SHARES:
        threshold = float(np.quantile(test.scores, share)) if share else float(test.scores.min())
        deferred = test.scores < threshold
        right = np.where(deferred, test.expert_right, test.student_right)
        points.append(CurvePoint(threshold=threshold, deferred_share=float(deferred.mean()), system_accuracy=float(right.mean())))
    return tuple(points)
