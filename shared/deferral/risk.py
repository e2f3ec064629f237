"""The offline risk of keeping frames: an exact bound on P(kept and student wrong and expert right), and the threshold it allows.

Rules, in order:
1. What is counted is independent: one frame is drawn per unit (a board, a track), by hash of the unit's name. A drawn frame errs
   or does not, so the count is binomial in the frame risk (units weighing equally) and the Clopper-Pearson bound is exact.
   With `whole_units` a unit errs when any of its frames does: a stronger promise, on units instead of frames.
2. Errors only grow when the threshold falls, so the walk from "keep nothing" downwards stops at the first threshold whose bound
   exceeds epsilon; no correction for having looked at many thresholds is needed (risk-controlling prediction sets, Bates et al.
   2021).
3. Where not even an error-free sample proves epsilon (fewer than ln(1/delta)/epsilon units), there is no calibration.

The promise holds for frames like those it was calibrated on, and for no others: that is what the audit sample watches.

Example:
    >>> round(bound(0, 300, 0.05), 4)
    0.0099
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from shared.deferral.beta import regularised
from shared.errors import InputError
from shared.release.card import Calibration

Flags = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Scores = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def bound(errors: int, n: int, delta: float) -> float:
    """Return the exact one-sided upper confidence bound of a binomial probability (Clopper and Pearson, 1934).

    Args:
        errors: how many of the trials erred.
        n: how many independent trials there were.
        delta: the chance that the bound is too low, between 0 and 1.

    Returns:
        The smallest p, rounded up, with P(Binomial(n, p) <= errors) <= delta; 1 without trials or when all erred.

    Raises:
        InputError: counts that cannot be, or a delta outside (0, 1).
    """
    if not (0 <= errors <= n and 0.0 < delta < 1.0):
        raise InputError(f"there is no bound for {errors} errors of {n} at delta {delta}.")
    if errors >= n:
        return 1.0
    low, high = errors / n, 1.0
    while high - low > 1e-15 + 1e-12 * high:
        middle = 0.5 * (low + high)
        if at_most(errors, n, middle) <= delta:
            high = middle
        else:
            low = middle
    return high


def at_most(errors: int, n: int, p: float) -> float:
    """Return P(Binomial(n, p) <= errors) as the regularised incomplete beta I_{1-p}(n - errors, errors + 1)."""
    if errors >= n or p <= 0.0:
        return 1.0
    if p >= 1.0:
        return 0.0
    return regularised(n - errors, errors + 1, 1.0 - p)


def calibrate(
    scores: Scores,
    student_wrong_and_expert_right: Flags,
    units: Sequence[str],
    epsilon: float,
    delta: float,
    *,
    score: str = "margin",
    whole_units: bool = False,
) -> Calibration | None:
    """Choose the threshold that keeps most frames within the promised risk.

    Args:
        scores: how sure each frame looks (higher is surer), shape (N).
        student_wrong_and_expert_right: what an error is, bool, shape (N).
        units: which independent unit each frame belongs to, length N.
        epsilon: the risk that is allowed, 0 to 1.
        delta: the chance that the promise is broken.
        score: name of the score, for the card.
        whole_units: count a unit as an error when any of its kept frames errs (rule 1).

    Returns:
        The card's calibration, or None where too few units or too many errors allow none.

    Raises:
        InputError: the lengths differ, or a score is no number.
    """
    values, wrong, names = np.asarray(scores, np.float64), np.asarray(student_wrong_and_expert_right, bool), np.asarray(units)
    if not len(values) == len(wrong) == len(names) or not np.isfinite(values).all():
        raise InputError(f"{len(values)} scores, {len(wrong)} errors and {len(names)} units do not make a calibration set.")
    if not len(values):
        return None
    count = len(np.unique(names))
    levels = _error_levels(values, wrong, names) if whole_units else _drawn_levels(values, wrong, names)
    allowed = _allowed_errors(count, epsilon, delta)
    if allowed < 0:
        return None
    kept = _lowest_threshold(values, levels, allowed)
    errors = int((levels >= kept).sum())
    return Calibration(
        score=score,
        threshold=kept,
        epsilon=epsilon,
        delta=delta,
        risk_bound=bound(errors, count, delta),
        units=count,
        frames=len(values),
    )


def _allowed_errors(count: int, epsilon: float, delta: float) -> int:
    """Return the most errors among `count` units whose bound stays within epsilon, -1 when not even none does."""
    errors = -1
    while errors + 1 < count and bound(errors + 1, count, delta) <= epsilon:
        errors += 1
    return errors


def _lowest_threshold(values: Scores, levels: Scores, allowed: int) -> float:
    """Return the lowest threshold that keeps at most `allowed` of the error levels: one float above the first level too many."""
    if len(levels) <= allowed:
        return float(values.min())
    too_many = float(np.sort(levels)[::-1][allowed])
    above = values[values > too_many]
    return float(above.min()) if len(above) else float(np.nextafter(too_many, math.inf))


def _error_levels(values: Scores, wrong: Flags, names: np.ndarray[tuple[int, ...], np.dtype[np.str_]]) -> Scores:
    """Return per erring unit the score at and below which a threshold makes it an error: the highest of its erring frames."""
    highest: dict[str, float] = {}
    for name, value in zip(names[wrong].tolist(), values[wrong].tolist(), strict=True):
        highest[name] = max(value, highest.get(name, -math.inf))
    return np.array(sorted(highest.values()), np.float64)


def _drawn_levels(values: Scores, wrong: Flags, names: np.ndarray[tuple[int, ...], np.dtype[np.str_]]) -> Scores:
    """Draw one frame per unit and return the scores of the drawn frames that err."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names.tolist()):
        places.setdefault(name, []).append(place)
    drawn = [own[_draw(name, len(own))] for name, own in places.items()]
    return values[[place for place in drawn if wrong[place]]]


def _draw(unit: str, frames: int) -> int:
    return int.from_bytes(hashlib.sha256(f"terrace/1/draw/{unit}".encode()).digest()[:8], "big") % frames
