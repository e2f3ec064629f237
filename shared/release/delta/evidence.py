"""What the part of a tensor that is known says of the rest: how much rows and columns move, and in which direction. Pure, integers only.

An update is nearly of low rank (a row's gradient is its output's error times the inputs), so how far a weight moves is about the product of
its row's and its column's share, and the sign follows the first singular pair. Levels are logarithms to base 2 in quarters of an octave.

    Rates       for small integers: means of the absolute residual, most of which are zero
    Levels      for floats and large integers: means of the logarithm itself
    Alignment   the first singular pair of what is known, by power iteration
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shared.release.delta.rans import Indices

_QUARTERS = (65536, 77936, 92682, 110218)
"""2^(0, 1/4, 1/2, 3/4) in 16 bits."""
_THRESHOLDS = np.array([_QUARTERS[k % 4] << (k // 4) >> 16 for k in range(4 * 48)], np.int64)
SHARED_MOVES = 3
"""Rates: a row or column begins as if it had moved this often, at the tensor's own rate."""
SHARED_LEVELS = 4
"""Levels: a row or column begins as if it had this many elements at the tensor's level."""
FINE = 16
"""Parts of a quarter octave in which levels are added up."""


def level(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the logarithm of integers from 1 to 2^47, in quarters of an octave; of anything below 1, 0."""
    found = np.searchsorted(_THRESHOLDS, values, "right") - 1
    return np.maximum(found, 0)


class Rates:
    """Rows and columns of a tensor of small integers.

    Args:
        rows: how many.
        columns: how many.
        start: the level of the mean absolute residual times 2^16 that the encoder measured.
    """

    def __init__(self, rows: int, columns: int, start: int) -> None:
        self._sums = np.zeros(rows, np.int64), np.zeros(columns, np.int64)
        self._counts = np.zeros(rows, np.int64), np.zeros(columns, np.int64)
        self._start = max(_QUARTERS[start % 4] << (start // 4) >> 16, 1)
        self.rows = np.full(rows, start - 64, np.int64)
        self.columns = np.zeros(columns, np.int64)

    def add(self, rows: Indices, columns: Indices, moved: Indices, sizes: npt.NDArray[np.int64]) -> None:
        """Add a step: the places coded, which of them moved, and how far those did."""
        for sums, counts, places in zip(self._sums, self._counts, (rows, columns), strict=True):
            np.add(counts, np.bincount(places, minlength=len(counts)), out=counts)
            np.add.at(sums, places[moved], sizes)
        total, count = int(self._sums[0].sum()), int(self._counts[0].sum())
        mean = max(((total + SHARED_MOVES) << 16) // (count + (SHARED_MOVES << 16) // self._start), 1)
        weight = max((SHARED_MOVES << 32) // mean, 1)
        levels = [
            level(((sums + SHARED_MOVES) << 32) // ((counts << 16) + weight)) for sums, counts in zip(self._sums, self._counts, strict=True)
        ]
        own = int(level(np.array([mean]))[0])
        self.rows, self.columns = levels[0] - 64, levels[1] - own


class Levels:
    """Rows and columns of a tensor of floats or large integers.

    Args:
        rows: how many.
        columns: how many.
        start: the level of the tensor that the encoder measured.
    """

    def __init__(self, rows: int, columns: int, start: int) -> None:
        self._sums = np.zeros(rows, np.int64), np.zeros(columns, np.int64)
        self._counts = np.zeros(rows, np.int64), np.zeros(columns, np.int64)
        self._start = start
        self.rows = np.full(rows, start, np.int64)
        self.columns = np.zeros(columns, np.int64)

    def add(self, rows: Indices, columns: Indices, levels: npt.NDArray[np.int64]) -> None:
        """Add a step: the places coded and the level of each residual."""
        for sums, counts, places in zip(self._sums, self._counts, (rows, columns), strict=True):
            np.add(counts, np.bincount(places, minlength=len(counts)), out=counts)
            np.add.at(sums, places, levels)
        total, count = int(self._sums[0].sum()), int(self._counts[0].sum())
        mean = (FINE * (total + SHARED_LEVELS * self._start)) // (count + SHARED_LEVELS)
        found = [
            (FINE * sums + SHARED_LEVELS * mean) // (counts + SHARED_LEVELS) for sums, counts in zip(self._sums, self._counts, strict=True)
        ]
        self.rows = (found[0] + FINE // 2) // FINE
        self.columns = (found[1] - mean + FINE // 2) // FINE


class Alignment:
    """The first singular pair of the residuals known so far.

    `rows` and `columns` hold the level of the factors' size: their sum is the level of the product times 2^16; `row_signs` and
    `column_signs` are True where a factor is negative. Where nothing is known the level is UNKNOWN.
    """

    UNKNOWN = -400
    SHARED = 8
    """A column's factor is damped as if this many units of movement had been seen that say nothing."""

    def __init__(self, rows: int, columns: int) -> None:
        self._left = np.full(rows, 64, np.int64)
        self.rows = np.full(rows, self.UNKNOWN, np.int64)
        self.columns = np.full(columns, self.UNKNOWN, np.int64)
        self.row_signs = np.zeros(rows, np.bool_)
        self.column_signs = np.zeros(columns, np.bool_)

    def fit(self, rows: Indices, columns: Indices, values: npt.NDArray[np.int64], *, share: int) -> None:
        """Renew the pair by one power iteration.

        Args:
            rows: of the residuals that are not zero.
            columns: likewise.
            values: the residuals, small integers.
            share: elements of the whole tensor per known one, in 1/256.
        """
        right = np.zeros(len(self.columns), np.int64)
        np.add.at(right, columns, self._left[rows] * values)
        right = _scaled(right)
        left = np.zeros(len(self.rows), np.int64)
        np.add.at(left, rows, right[columns] * values)
        energy = max(int((right * right).sum()) * 256 // max(share, 1), 1)
        size = max(int(np.abs(values).sum()), 1)
        damping = self.SHARED * energy * len(left) // size
        coefficient = (np.abs(left) << 24) // (energy + damping)
        self.rows = np.where(coefficient > 0, level(coefficient) - 32, self.UNKNOWN)
        self.columns = np.where(right != 0, level(np.abs(right)), self.UNKNOWN)
        self.row_signs, self.column_signs = left < 0, right < 0
        self._left = _scaled(left)


def _scaled(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return a vector scaled so that its largest entry is below 2^10."""
    over = max(int(np.abs(values).max(initial=0)).bit_length() - 10, 0)
    return np.where(values < 0, -(-values >> over), values >> over)
