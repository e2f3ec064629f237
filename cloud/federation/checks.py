"""May this update count, and how much? Pure: arrays and numbers in, reasons and weights out.

Rules, in order (TRUST.md "Federation"):
1. Names, shapes and dtypes equal the model's.
2. No NaN, no Inf; a running variance is not negative.
3. It was trained on at least the minimum of cases, in at least the minimum of steps.
4. Its weight is its number of cases, at most twice the median of all valid updates.

Batch-norm statistics (`running_mean`, `running_var`, `num_batches_tracked`) are no parameters: they are left out of norms and
averaged apart, as moments of a mixture (see `aggregation`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median

import msgspec
import numpy as np

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
Arrays = Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]


class Contribution(msgspec.Struct, frozen=True, kw_only=True):
    """One region's update as numbers: `norm` of its change of the parameters, `weight` its part of the mean, `refused` why not.

    The losses are what the region says of its first and last step; nothing is decided by them.
    """

    region: str
    examples: int = 0
    steps: int = 0
    norm: float = 0.0
    weight: float = 0.0
    refused: str = ""
    first_loss: float | None = None
    last_loss: float | None = None


def is_statistic(name: str) -> bool:
    """Say whether an array is a batch-norm statistic rather than a parameter."""
    return name.rsplit(".", 1)[-1] in STATISTICS


def misfit(update: Arrays, model: Arrays) -> str:
    """Return why an update does not fit the model, or an empty string."""
    if set(update) != set(model):
        odd = sorted(set(update) ^ set(model))
        return f"its array names differ from the model's ({', '.join(odd[:3])})"
    for name, value in model.items():
        found = update[name]
        if found.shape != value.shape:
            return f"{name} has shape {found.shape}, the model's is {value.shape}"
        if found.dtype != value.dtype:
            return f"{name} has type {found.dtype}, the model's is {value.dtype}"
    return _not_finite(update)


def _not_finite(update: Arrays) -> str:
    for name, value in update.items():
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            return f"{name} has values that are not finite"
        if name.endswith("running_var") and np.less(value.astype(np.float64), 0.0).any():
            return f"{name} is negative"
    return ""


def too_little(examples: object, steps: object, *, minimum_cases: int, minimum_steps: int) -> str:
    """Return why an update was trained on too little, or an empty string."""
    for name, value in (("num-examples", examples), ("steps", steps)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            return f"its {name} is no count"
    if isinstance(examples, int) and examples < minimum_cases:
        return f"it has {examples} cases, {minimum_cases} are needed"
    if isinstance(steps, int) and steps < minimum_steps:
        return f"it took {steps} steps, {minimum_steps} are needed"
    return ""


def change_norm(update: Arrays, model: Arrays) -> float:
    """Return the Euclidean norm of an update's change of the parameters, statistics left out."""
    total = 0.0
    for name, value in model.items():
        if not is_statistic(name):
            change = update[name].astype(np.float64) - value.astype(np.float64)
            total += float(np.vdot(change, change))
    return math.sqrt(total)


def weights(examples: list[int]) -> list[float]:
    """Return each update's part of the mean (they add up to 1): its cases, at most twice the median.

    Raises:
        ValueError: there are no updates, or none has a case.
    """
    cap = 2 * median(examples)
    capped = [min(count, cap) for count in examples]
    total = sum(capped)
    if total <= 0:
        raise ValueError("no update has a case")
    return [count / total for count in capped]


def unlike(contributions: list[Contribution], *, factor: float = 3.0) -> set[str]:
    """Return the regions whose update's norm is more than `factor` times the median of all valid ones.

    With fewer than three valid updates there is no "others" to be unlike.
    """
    valid = [item for item in contributions if not item.refused]
    if len(valid) < 3:
        return set()
    limit = factor * median(item.norm for item in valid)
    return {item.region for item in valid if item.norm > limit}
