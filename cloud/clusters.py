"""Is a release worse across the fleet? Devices run it and the one before on the same audit samples; each device is one observation. Pure.

A device's *loss* is (lost - won) / compared: of the audit samples it ran both releases on, those where only the one before agreed with
the expert, minus those where only the new one did. What makes both worse, such as night, cancels.

Rules, in order:
1. A device counts from `least_compared` samples on, once, however many it has: its samples err together, devices do not.
2. The devices that run a release first are drawn by keyed hash from the whole fleet, so the mean over them is an unbiased estimate of
   the fleet's, whatever devices of one region have in common; its error is that of a mean of as many values as there are devices
   (Student's t, which allows for few).
3. There is a *look* only when a quarter more samples are compared than at the last, and look k may be wrong, for each of the two
   decisions, with a share 1 / (k (k + 1)) of its allowance; the shares of all looks ever sum to 1 (Bonferroni).
4. Worse: the lower end lies above `tolerated`. Sound: the upper end lies below `excluded`. Neither: more samples or devices are needed,
   or a person. What is decided stays decided until the next look.

Not here: small losses of devices that are not a sample of a fleet, which they notice themselves (edge.paired).

Example:
    >>> worse = [Compared(compared=100, lost=7, won=2)] * 30 + [Compared(compared=100, lost=8, won=2)] * 30
    >>> weigh(worse, ClusterRule(), Clusters()).worse
    True
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from cloud.student_t import quantile

GROWTH = 1.25
"""How many times as many samples the next look needs."""
LEAST_DEVICES = 3
"""Fewer have no spread to speak of."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One device's counts: samples both releases were run on, those only the one before was right on, those only the new one was."""

    compared: int = 0
    lost: int = 0
    won: int = 0


class ClusterRule(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a release.

    `tolerated` and `excluded` are mean losses of agreement over the fleet (0 to 1); `false_stop` and `missed` the probabilities, over a
    whole rollout, of calling a release worse that is within `tolerated`, and sound that loses `excluded` or more.
    """

    tolerated: float = 0.01
    excluded: float = 0.03
    false_stop: float = 0.01
    missed: float = 0.05
    least_compared: int = 20


class Clusters(msgspec.Struct, frozen=True, kw_only=True):
    """What the devices say: how many counted at the last look, the mean loss with its ends, the decisions, and the looks so far."""

    devices: int = 0
    compared: int = 0
    loss: float = 0.0
    low: float = -1.0
    high: float = 1.0
    worse: bool = False
    sound: bool = False
    looks: int = 0


def weigh(devices: Sequence[Compared], rule: ClusterRule, before: Clusters) -> Clusters:
    """Return what the devices of a rollout's cohort say now; `before` itself while it is too early for another look.

    Args:
        devices: the cohort's.
        rule: what is asked.
        before: what the last call returned; a fresh one at a rollout's beginning.
    """
    counts = np.array([[one.compared, one.lost, one.won] for one in devices], np.float64).reshape(-1, 3)
    return weigh_counts(counts, rule, before)


def weigh_counts(counts: np.ndarray[tuple[int, ...], np.dtype[np.float64]], rule: ClusterRule, before: Clusters) -> Clusters:
    """Return the same from counts (devices, 3) in the order of `Compared`."""
    counted = counts[counts[:, 0] >= rule.least_compared]
    compared = int(counted[:, 0].sum())
    if len(counted) < LEAST_DEVICES or compared < GROWTH * before.compared:
        return before
    looks = before.looks + 1
    losses = (counted[:, 1] - counted[:, 2]) / counted[:, 0]
    mean = float(losses.mean())
    error = float(losses.std(ddof=1)) / math.sqrt(len(losses))
    error = max(error, _least_error(counted))
    below, above = (quantile(allowance / (looks * (looks + 1)), len(losses) - 1) * error for allowance in (rule.false_stop, rule.missed))
    return Clusters(
        devices=len(losses),
        compared=compared,
        loss=mean,
        low=mean - below,
        high=mean + above,
        worse=mean - below > rule.tolerated,
        sound=mean + above < rule.excluded,
        looks=looks,
    )


def _least_error(counted: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """Return the error of a mean over these samples were one more of them lost: no luck makes a spread of nothing certain."""
    compared = float(counted[:, 0].sum())
    discordant = float(counted[:, 1:].sum()) + 1.0
    return math.sqrt(discordant) / compared
