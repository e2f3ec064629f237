"""The threshold that follows the live risk: chosen anew from the newest audit samples, begun at the card's. Pure.

An audit sample tells for every threshold at once whether the frame would have been kept and wrong, whatever was done with it. Rules, in
order:
1. The newest `window_of(epsilon)` samples count, 10 / epsilon of them: as many audits after a change nothing of before is left.
2. The threshold is the lowest that keeps at most `allowed` of them wrong: so many that the exact bound at 1 - `DELTA` stays within
   epsilon (risk.bound; the same walk as the offline calibration, at a confidence for following rather than for promising).
3. Until the window is full, the card speaks for the samples that are not there yet: at its threshold it is believed to be just within what
   is allowed, and for every `HALVING` of all frames by which more or fewer are kept its risk doubles or halves. So a few early samples
   move the threshold a little, and many of them far.
4. Where no threshold is high enough, it lies just above the most confident frame or error of the window.

While the frames are exchangeable within a window, the risk at the threshold exceeds epsilon with probability about `DELTA`, and its mean
lies below epsilon (conformal risk control: Angelopoulos, Bates, Fisch, Lei, Schuster, ICLR 2024); after a change for the worse it is back
after 10 / epsilon audits at the latest. While it changes all the time, it lags by as many.
`tests/unit/test_live_threshold.py` simulates it.

Example:
    >>> follower = Follower.of(start=2.0, epsilon=0.02)
    >>> follower.threshold
    2.0
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

import numpy as np

from shared.deferral.risk import bound

WINDOW_ERRORS = 10
DELTA = 0.4
HALVING = 0.08
"""On DeepPCB windows 7 % and on Fashion-MNIST 8 % of all frames halve the risk (docs/deferral.md)."""
MOST_SAMPLES = 8192


def window_of(epsilon: float) -> int:
    """Return how many audit samples the threshold is chosen from: 10 / epsilon, at most `MOST_SAMPLES`."""
    return min(MOST_SAMPLES, math.ceil(WINDOW_ERRORS / epsilon))


def allowed_errors(samples: int, epsilon: float) -> int:
    """Return how many of the samples may be kept and wrong (rule 2), 0 where not even none would be few enough."""
    errors = 0
    while errors + 1 < samples and bound(errors + 1, samples, DELTA) <= epsilon:
        errors += 1
    return errors


class Follower:
    """The threshold of one release in service. Not locked: its owner is.

    Args:
        start: the threshold it begins with, in the unit of the score.
        epsilon: the live risk that is allowed, above 0 and below 1.
        window: samples that count.
        allowed: how many of them may be kept and wrong.
    """

    def __init__(self, *, start: float, epsilon: float, window: int, allowed: int) -> None:
        self.start = start
        self.epsilon = epsilon
        self.threshold = start
        self._window = window
        self._allowed = allowed
        self._samples: deque[tuple[float, bool]] = deque(maxlen=window)

    @classmethod
    def of(cls, *, start: float, epsilon: float) -> Follower:
        """Return a follower that has seen nothing.

        Raises:
            ValueError: epsilon is no share above 0 and below 1; a defect of the caller.
        """
        if not 0.0 < epsilon < 1.0:
            raise ValueError(f"an epsilon of {epsilon}")
        window = window_of(epsilon)
        return cls(start=start, epsilon=epsilon, window=window, allowed=allowed_errors(window, epsilon))

    @property
    def samples(self) -> int:
        """How many samples it is chosen from now."""
        return len(self._samples)

    @property
    def window(self) -> int:
        """How many it is chosen from when the card speaks for none any more."""
        return self._window

    def held(self) -> tuple[tuple[float, bool], ...]:
        """Return the samples it is chosen from, oldest first, as `add_many` takes them."""
        return tuple(self._samples)

    def add(self, score: float, differs: bool) -> float:
        """Take an audit sample and return the threshold that holds now.

        Args:
            score: how sure the frame looked; NaN for one that is never kept.
            differs: whether student and expert say different things.
        """
        return self.add_many([(score, differs)])

    def add_many(self, samples: Iterable[tuple[float, bool]]) -> float:
        """Take audit samples, oldest first, each as `add` takes one; returns the threshold that holds after all of them."""
        self._samples.extend((-math.inf if math.isnan(score) else score, differs) for score, differs in samples)
        self.threshold = self._choose()
        return self.threshold

    def _choose(self) -> float:
        scores = np.sort(np.array([score for score, _ in self._samples], np.float64))
        errors = np.sort(np.array([score for score, differs in self._samples if differs], np.float64))
        steps = np.concatenate([np.array([self.start]), scores, np.nextafter(errors, math.inf)])
        candidates = np.unique(steps[np.isfinite(steps)])
        if not len(candidates):
            return self.start
        above = len(errors) - np.searchsorted(errors, candidates)
        absent = self._window - len(scores)
        below = np.searchsorted(scores, candidates) - np.searchsorted(scores, self.start)
        believed = absent / self._window * self._allowed * 2.0 ** (-below / (len(scores) * HALVING)) if absent else 0.0
        fits = above + believed <= self._allowed
        chosen = float(candidates[int(np.argmax(fits))] if fits.any() else candidates[-1])
        is_like_start = np.searchsorted(scores, chosen) == np.searchsorted(scores, self.start)
        return self.start if is_like_start else chosen
