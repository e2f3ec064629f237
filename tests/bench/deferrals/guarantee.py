"""Does the promise hold as often as it says? Calibrations on units drawn anew, each judged on the population they were drawn from. Pure.

The population are the units that taught nobody: policy-fit (scored by models that did not see the unit) and policy-test. A calibration
draws half as many units with replacement; it breaks its promise when the population's risk at its threshold, units weighing alike,
exceeds epsilon.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from cloud.foundry.ranking import Numbers
from shared.deferral import risk


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """Of `draws` calibrations, `broken` promised too much and `none` found too few units to promise anything; `deferred` is the mean."""

    draws: int
    broken: int
    none: int
    deferred: float

    @property
    def promising(self) -> int:
        """How many calibrations promised something."""
        return self.draws - self.none

    @property
    def share(self) -> float:
        """The share of broken promises among those that were given; no number where none was."""
        return self.broken / self.promising if self.promising else math.nan


def violations(scores: Numbers, missed: risk.Flags, units: Sequence[str], *, epsilon: float, delta: float, draws: int) -> Broken:
    """Return how often the promise breaks.

    Args:
        scores: of the population's frames, (N).
        missed: where keeping the frame loses, (N).
        units: of the frames, (N).
        epsilon: the risk promised.
        delta: how often it may break.
        draws: how many calibrations.
    """
    _, unit = np.unique(np.asarray(units), return_inverse=True)
    places = np.split(np.argsort(unit, kind="stable"), np.cumsum(np.bincount(unit))[:-1])
    weights = 1.0 / np.bincount(unit)[unit]
    random, broken, none, deferred = np.random.default_rng(5), 0, 0, []
    for number in range(draws):
        picked = random.integers(0, len(places), max(1, len(places) // 2))
        frames = np.concatenate([places[one] for one in picked])
        names = [f"{number}-{place}" for place, one in enumerate(picked) for _ in places[one]]
        found = risk.calibrate(scores[frames], missed[frames], names, epsilon, delta)
        if found is None:
            none += 1
            continue
        kept = scores >= found.threshold
        broken += bool((weights * (kept & missed)).sum() / len(places) > epsilon)
        deferred.append(float((~kept).mean()))
    return Broken(draws=draws, broken=broken, none=none, deferred=float(np.mean(deferred)) if deferred else 0.0)
