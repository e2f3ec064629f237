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
        self._starts, self._widths = _spread(self._counts)
        self._stale = False

    @property
    def symbols(self) -> int:
        """How many symbols a context has."""
        return int(self._counts.shape[1])

    @property
    def starts(self) -> Words:
        """Context << 16 | start, ascending."""
        self._refresh()
        return self._starts

    @property
    def widths(self) -> Words:
        """Width of each symbol out of 2^16."""
        self._refresh()
        return self._widths

    def learn(self, contexts: Indices, values: Indices) -> None:
        """Add what was coded."""
        seen = np.bincount(contexts * self.symbols + values, minlength=self._counts.size)
        self._counts += seen.reshape(self._counts.shape) * STEP
        full = self._counts.sum(axis=1) > LARGEST_TOTAL
        if full.any():
            self._counts[full] = (self._counts[full] + 1) >> 1
        self._stale = True

    def _refresh(self) -> None:
        if self._stale:
            self._starts, self._widths = _spread(self._counts)
            self._stale = False


def _spread(counts: npt.NDArray[np.int64]) -> tuple[Words, Words]:
    """Return starts and widths of distributions in the proportion of counts; no symbol has nothing."""
    contexts, symbols = counts.shape
    widths = 1 + counts * (ONE - symbols) // counts.sum(axis=1, keepdims=True)
    rows = np.arange(contexts)
    widths[rows, widths.argmax(axis=1)] += ONE - widths.sum(axis=1)
    starts = np.cumsum(widths, axis=1) - widths + (rows << BITS)[:, None]
    return starts.ravel().astype(np.uint32), widths.ravel().astype(np.uint32)
