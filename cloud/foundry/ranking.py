"""How good an order of frames is: what the whole system gains when the least sure are answered by the expert. Pure numpy.

Rules, in order:
1. A frame's gain is what its deferral changes: 1 where only the expert is right, -1 where only the student is, else 0.
2. `curve` adds the gains up in the score's order, least sure first; ties go in the order of frames.
3. Weights count a unit's frames as often as a bootstrap drew the unit, so one sorting serves all draws.

Example:
    >>> ranking = Ranking.of(np.array([0.1, 0.9]), np.array([1, 0]))
    >>> ranking.gained((0.5,)).tolist()
    [[0.5]]
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Whole = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
STEPS = 512
"""Shares at which an area is summed."""


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """Frames in a score's order, for any number of weightings at once.

    `share` is the share of weight deferred after each frame and `gain` what the system has gained by then, both (D, N + 1) for D
    weightings, beginning with 0.
    """

    share: Numbers
    gain: Numbers

    @classmethod
    def of(cls, scores: Numbers, gains: Whole, weights: Numbers | None = None) -> Ranking:
        """Order frames.

        Args:
            scores: how sure each looks, (N).
            gains: rule 1, (N).
            weights: (D, N) of rule 3; None weighs every frame once.
        """
        order = np.argsort(scores, kind="stable")
        own = np.ones((1, len(scores))) if weights is None else np.asarray(weights, np.float64)
        sorted_weights = own[:, order]
        total = sorted_weights.sum(axis=1, keepdims=True)
        start = np.zeros((len(own), 1))
        share = np.concatenate([start, np.cumsum(sorted_weights, axis=1) / total], axis=1)
        gain = np.concatenate([start, np.cumsum(sorted_weights * gains[order], axis=1) / total], axis=1)
        return cls(share=share, gain=gain)

    def gained(self, shares: Sequence[float]) -> Numbers:
        """Return the gain at shares of deferred frames, (D, len(shares)), linear between frames."""
        pairs = zip(self.share, self.gain, strict=True)
        return np.stack([np.interp(shares, share, gain) for share, gain in pairs])

    def needed(self, gain: Numbers) -> Numbers:
        """Return the smallest share that gains as much as wanted, (D) for `gain` (D); 1 where no share does."""
        reached = self.gain >= np.asarray(gain)[:, None] - 1e-12
        first = reached.argmax(axis=1)
        found = self.share[np.arange(len(first)), first]
        return np.where(reached.any(axis=1), found, 1.0)

    def area(self, most: float) -> Numbers:
        """Return the mean gain over shares from 0 to `most`, (D)."""
        return np.asarray(self.gained(np.linspace(0.0, most, STEPS).tolist()).mean(axis=1))

    @property
    def all(self) -> Numbers:
        """The gain when the expert answers everything, (D)."""
        return self.gain[:, -1]


def draws(units: Sequence[str], count: int, *, seed: int = 0) -> Numbers:
    """Return how often each frame counts in bootstrap draws of whole units, float64 (count, N).

    Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 8.
    """
    _, place = np.unique(np.asarray(units), return_inverse=True)
    number = int(place.max()) + 1
    random = np.random.default_rng(seed)
    drawn = np.stack([np.bincount(random.integers(0, number, number), minlength=number) for _ in range(count)])
    return np.asarray(drawn[:, place], np.float64)
