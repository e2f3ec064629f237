"""Intervals for figures measured on frames that are not independent: a bootstrap over units. Pure.

Rules:
1. A unit (a board of a stream) is drawn whole or not at all; frames of one board share its layout and its lamp.
2. The figure is a ratio of sums over the drawn units (right answers over frames), so that large units weigh more.
3. A difference of two models on the same frames is bootstrapped as a difference: its interval is narrower than two intervals.
4. The interval is the percentile interval of `DRAWS` draws from a fixed seed: the same files give the same numbers.

Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13.

Example:
    >>> estimate([1, 1, 0, 1], ["a", "a", "b", "b"]).value
    0.75
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

DRAWS = 2000
COVERAGE = 0.95


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A mean over frames with its 95 % interval over `units` units; zero everywhere when there is no frame."""

    value: float = 0.0
    low: float = 0.0
    high: float = 0.0
    frames: int = 0
    units: int = 0

    def words(self, *, sign: bool = False) -> str:
        """Return it in per cent with its interval: `91.2 % (89.9 to 92.4)`."""
        form = "+.1f" if sign else ".1f"
        return f"{100 * self.value:{form}} % ({100 * self.low:{form}} to {100 * self.high:{form}})"


def estimate(values: Sequence[float], units: Sequence[str]) -> Estimate:
    """Return the mean of `values` with its interval over units.

    Args:
        values: one number a frame: 1 for right, 0 for wrong, or the difference of two such.
        units: the unit of each frame.
    """
    if not len(values):
        return Estimate()
    _, index = np.unique(np.asarray(units), return_inverse=True)
    sums, counts = np.bincount(index, weights=np.asarray(values, np.float64)), np.bincount(index)
    drawn = np.random.default_rng(1).integers(0, len(sums), size=(DRAWS, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Estimate(value=float(sums.sum() / counts.sum()), low=float(low), high=float(high), frames=len(values), units=len(sums))


def difference(first: Sequence[float], second: Sequence[float], units: Sequence[str]) -> Estimate:
    """Return how much larger the mean of `first` is than that of `second` on the same frames, with its interval over units."""
    return estimate([a - b for a, b in zip(first, second, strict=True)], units)
