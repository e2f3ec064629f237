"""Adaptive distributions by context: counts that begin with a prior and grow with what was coded. Pure, integers only.

Counts change between steps, never within one, so that all symbols of a step can be coded at once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shared.release.delta.rans import BITS, ONE, Indices, Words

STEP = 32
"""What one symbol adds to its count; priors are in the same unit."""
LARGEST_TOTAL = 1 << 20
"""Above it a context's counts are halved: old evidence fades, and the arithmetic stays far from overflow."""


class Table:
    """Distributions of `symbols` symbols for each context.

    Args:
        prior: the counts to begin with, (contexts, symbols), each at least 1.
    """

    def __init__(self, prior: npt.NDArray[np.int64]) -> None:
        self._counts = prior.astype(np.int64)
        self._starts, self._widths = _spread(self._counts, np.arange(len(prior)))

    @property
    def symbols(self) -> int:
        """How many symbols a context has."""
        return int(self._counts.shape[1])

    @property
    def starts(self) -> Words:
        """Starts as context << 16 | start, ascending."""
        return self._starts.ravel()

    @property
    def widths(self) -> Words:
        """Width of each symbol out of 2^16."""
        return self._widths.ravel()

    def learn(self, contexts: Indices, values: Indices) -> None:
        """Add what was coded; only the contexts met are worked out anew."""
        met = np.bincount(contexts, minlength=len(self._counts))
        rows = np.flatnonzero(met)
        met[rows] = np.arange(len(rows))
        seen = np.bincount(met[contexts] * self.symbols + values, minlength=len(rows) * self.symbols)
        counts = self._counts[rows] + seen.reshape(-1, self.symbols) * STEP
        full = counts.sum(axis=1) > LARGEST_TOTAL
        counts[full] = (counts[full] + 1) >> 1
        self._counts[rows] = counts
        self._starts[rows], self._widths[rows] = _spread(counts, rows)


def _spread(counts: npt.NDArray[np.int64], contexts: Indices) -> tuple[Words, Words]:
    """Return starts and widths of distributions in the proportion of counts; no symbol has nothing."""
    symbols = counts.shape[1]
    widths = 1 + counts * (ONE - symbols) // counts.sum(axis=1, keepdims=True)
    widths[np.arange(len(counts)), widths.argmax(axis=1)] += ONE - widths.sum(axis=1)
    starts = np.cumsum(widths, axis=1) - widths + (contexts << BITS)[:, None]
    return starts.astype(np.uint32), widths.astype(np.uint32)
