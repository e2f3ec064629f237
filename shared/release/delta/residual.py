"""Codes how far each element of a tensor is from its prediction, in growing steps. Pure, integers only; one code for both ways.

1. The elements are visited in a scattered order in steps that grow, so that after a few steps something is known of every row and column.
2. In a step every element gets a context out of what is known: the level its row and column move at, how near its prediction is to a
   rounding border, how strongly the first singular pair speaks.
3. Its class of size is coded in that context; then, where it moved, the sign, the two highest bits below the first, and the rest as is.
4. Tables and evidence learn the step.

Tables belong to a block and go on from tensor to tensor within it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt

from shared.release.delta.evidence import Alignment, Levels, Rates
from shared.release.delta.rans import Array, Coder, Indices, Words
from shared.release.delta.shapes import prior_counts
from shared.release.delta.tables import STEP, Table

Residuals = npt.NDArray[np.int32]

NEAR = 8
"""Classes of distance to a rounding border on either side."""
SURE = 8
"""Classes of how strongly the first singular pair speaks."""
MANTISSA = 16
LARGEST_STEP = 1 << 15
ENOUGH = 1 << 18
"""A singular pair is not fitted again once it rests on this many elements that moved."""
_POWERS = np.array([1 << k for k in range(32)], np.uint32)
_FIRST_STEP = 192
_SHORTEST_SIDE = 4
"""A tensor with a shorter side has no singular pair worth knowing."""
_GAINS = np.array([(16 * (65536, 77936, 92682, 110218)[k % 4] << k // 4) >> 19 for k in range(24)], np.int64)


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a tensor before its residuals.

    `rows` x `columns` elements; `wide` for floats and 32-bit integers. `offsets` (int16) is what an element's own unit is worth in quarters
    of an octave, `lean` (int8, -NEAR..NEAR) how near its prediction is to the rounding border above (+) or below (-). Either may be None.
    """

    rows: int
    columns: int
    wide: bool
    offsets: Array | None = None
    lean: Array | None = None


class _Scale(msgspec.Struct, frozen=True, kw_only=True):
    """Contexts of level: the lowest, how many, how many classes of size, and which mean the lowest stands for."""

    lowest: int
    contexts: int
    symbols: int
    mean: int


_NARROW = _Scale(lowest=-48, contexts=80, symbols=9, mean=-48)
_WIDE = _Scale(lowest=-8, contexts=142, symbols=33, mean=-7)


class Tables:
    """The tables of one block for narrow or wide tensors."""

    def __init__(self, *, wide: bool) -> None:
        self.scale = _WIDE if wide else _NARROW
        self.nears = 1 if wide else NEAR + 1
        prior = prior_counts(self.scale.mean, self.scale.contexts, self.scale.symbols, 8 * STEP)
        self.sizes = Table(np.repeat(prior, self.nears * SURE, axis=0))
        self.signs = Table(np.full((2 * (2 * NEAR + 1) * SURE, 2), 2 * STEP, np.int64))
        self.tops = Table(np.full((MANTISSA, 4), STEP, np.int64))
        self.halves = Table(np.full((MANTISSA, 2), STEP, np.int64))


class Model:
    """Codes the tensors of one block, one after the other.

    Args:
        coder: either direction.
    """

    def __init__(self, coder: Coder) -> None:
        self._coder = coder
        self._tables: dict[bool, Tables] = {}

    def code(self, field: Field, residuals: Residuals | None) -> Residuals:
        """Code one tensor.

        Args:
            field: what is known of it.
            residuals: int32 (rows * columns,) when encoding, None when decoding.

        Returns:
            The residuals.
        """
        if field.wide not in self._tables:
            self._tables[field.wide] = Tables(wide=field.wide)
        tables = self._tables[field.wide]
        start = self._coder.raw(np.array([16], np.uint32), None if residuals is None else _start(field, residuals))
        return _Pass(self._coder, tables, field, int(start[0])).run(residuals)


class _Pass:
    """One tensor's way through the steps."""

    def __init__(self, coder: Coder, tables: Tables, field: Field, start: int) -> None:
        self._coder = coder
        self._tables = tables
        self._field = field
        self._start = start
        self._levels = Levels(field.rows, field.columns, start) if field.wide else Rates(field.rows, field.columns, start)
        self._pair = Alignment(field.rows, field.columns)
        self._moved: list[tuple[Array, Array, Array]] = []
        self._fitting = min(field.rows, field.columns) >= _SHORTEST_SIDE

    def run(self, residuals: Residuals | None) -> Residuals:
        count = self._field.rows * self._field.columns
        found = np.zeros(count, np.int32)
        order, fit_at = _order(count), 0
        for begin, end in _steps(count, 6 if self._fitting else 2):
            places = order[begin:end].astype(np.int64)
            found[places] = self._step(places, None if residuals is None else residuals[places])
            if self._fitting and fit_at <= end < count:
                self._fit(count * 256 // end)
                fit_at = end * 3 // 2
        return found

    def _fit(self, share: int) -> None:
        rows, columns, values = (np.concatenate(parts) for parts in zip(*self._moved, strict=True))
        self._pair.fit(rows, columns, values.astype(np.int64), share=share)
        if len(values) >= ENOUGH:
            self._fitting = False
            self._moved.clear()

    def _step(self, places: Indices, known: Residuals | None) -> Residuals:
        rows = places // self._field.columns
        columns = places - rows * self._field.columns
        expected = self._levels.rows[rows] + self._levels.columns[columns]
        sure, negative = self._direction(rows, columns, expected)
        offsets = self._field.offsets[places] if self._field.offsets is not None else 0
        lean = self._field.lean[places].astype(np.int64) if self._field.lean is not None else np.zeros(len(places), np.int64)
        classes = self._sizes(expected - offsets, lean, sure, known)
        moved = np.flatnonzero(classes)
        values = self._values(classes[moved], lean[moved], sure[moved], negative[moved], None if known is None else known[moved])
        found = np.zeros(len(places), np.int32)
        found[moved] = values
        self._learn(rows, columns, moved, classes * 4 + offsets, values)
        return found

    def _direction(self, rows: Indices, columns: Indices, expected: npt.NDArray[np.int64]) -> tuple[Indices, npt.NDArray[np.bool_]]:
        """Return how sure the singular pair is of each element's sign, 0..SURE-1, and whether it says negative."""
        strength = self._pair.rows[rows] + self._pair.columns[columns] - 64 - expected
        if self._field.wide:
            strength += self._start - 16
        return _within((strength + 2 * SURE) >> 1, SURE), self._pair.row_signs[rows] ^ self._pair.column_signs[columns]

    def _sizes(self, level: npt.NDArray[np.int64], lean: Indices, sure: Indices, known: Residuals | None) -> Indices:
        scale, nears = self._tables.scale, self._tables.nears
        contexts = _within(level - scale.lowest, scale.contexts)
        if nears > 1:
            contexts = contexts * nears + np.abs(lean)
        contexts = contexts * SURE + sure
        found = self._coder.pick(self._tables.sizes, contexts, None if known is None else _classes(known))
        self._tables.sizes.learn(contexts, found)
        return found

    def _values(
        self, classes: Indices, lean: Indices, sure: Indices, negative: npt.NDArray[np.bool_], known: Residuals | None
    ) -> Residuals:
        """Code sign and lower bits of what moved."""
        if not len(classes):
            return np.zeros(0, np.int32)
        tilted = np.where(negative, -lean, lean) + NEAR
        contexts = (tilted * SURE + sure) * 2 + (classes == 1)
        against = self._coder.pick(self._tables.signs, contexts, None if known is None else ((known < 0) != negative).astype(np.int64))
        self._tables.signs.learn(contexts, against)
        sizes = self._lower(classes, None if known is None else _sizes_of(known))
        return np.where((against == 1) != negative, 0 - sizes, sizes).astype(np.uint32).view(np.int32)

    def _lower(self, classes: Indices, known: Words | None) -> Words:
        """Code what follows the highest bit of each size."""
        sizes: Words = np.uint32(1) << np.maximum(classes - 1, 0).astype(np.uint32)
        for table, at, bits in (
            (self._tables.halves, np.flatnonzero(classes == 2), 1),
            (self._tables.tops, np.flatnonzero(classes > 2), 2),
        ):
            if not len(at):
                continue
            depth = classes[at] - 1 - bits
            contexts = np.minimum(classes[at], MANTISSA - 1)
            top = self._coder.pick(
                table, contexts, None if known is None else ((known[at] >> depth.astype(np.uint32)) & ((1 << bits) - 1)).astype(np.int64)
            )
            table.learn(contexts, top)
            sizes[at] |= top.astype(np.uint32) << depth.astype(np.uint32)
        rest = np.maximum(classes - 3, 0).astype(np.uint32)
        for shift in (0, 16):
            at = np.flatnonzero(rest > shift)
            if not len(at):
                continue
            width = np.minimum(rest[at] - np.uint32(shift), 16)
            mask = (np.uint32(1) << width) - np.uint32(1)
            low = self._coder.raw(width, None if known is None else (known[at] >> np.uint32(shift)) & mask)
            sizes[at] |= low << np.uint32(shift)
        return sizes

    def _learn(self, rows: Indices, columns: Indices, moved: Indices, levels: npt.NDArray[np.int64], values: Residuals) -> None:
        if isinstance(self._levels, Levels):
            self._levels.add(rows, columns, levels)
            gains = _GAINS[_within(levels[moved] - self._start + 12, len(_GAINS))]
            seen = np.where(values < 0, -gains, gains)
        else:
            seen = np.minimum(np.maximum(values, -16), 16).astype(np.int64)
            self._levels.add(rows, columns, moved, np.abs(values.astype(np.int64)))
        if self._fitting:
            self._moved.append((rows[moved].astype(np.int32), columns[moved].astype(np.int32), seen.astype(np.int8)))


def _start(field: Field, residuals: Residuals) -> Words:
    """Return the level the encoder measured over the whole tensor: one number of 16 bits."""
    sizes = _sizes_of(residuals).astype(np.int64)
    if field.wide:
        offsets = field.offsets if field.offsets is not None else np.zeros(1, np.int64)
        mean = int((_classes(residuals) * 4 + offsets).sum()) // max(len(residuals), 1)
        return np.array([max(mean, 0)], np.uint32)
    mean = (int(sizes.sum()) << 16) // max(len(residuals), 1)
    return np.array([max(mean.bit_length() * 4 - 2, 0)], np.uint32)


def _within(values: npt.NDArray[np.int64], count: int) -> Indices:
    """Return values limited to 0 .. count - 1; numpy's own clip looks up the type's limits each time."""
    return np.minimum(np.maximum(values, 0), count - 1)


def _sizes_of(residuals: Residuals) -> Words:
    bits = residuals.view(np.uint32)
    return np.where(residuals < 0, 0 - bits, bits)


def _classes(residuals: Residuals) -> Indices:
    return np.searchsorted(_POWERS, _sizes_of(residuals), "right")


def _steps(count: int, first: int) -> Iterator[tuple[int, int]]:
    """Yield from where to where each step goes; the first takes 2^-first of all."""
    begin, size = 0, max(count >> first, _FIRST_STEP)
    while begin < count:
        end = min(begin + size, count) if count - begin >= 2 * size else count
        yield begin, end
        begin, size = end, min(size * 2, max(count >> 3, _FIRST_STEP), LARGEST_STEP)


@lru_cache(maxsize=1)
def _order(count: int) -> npt.NDArray[np.uint32]:
    """Return a scattered order of `count` elements: sorted by a hash of their place, then by place."""
    mixed = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(0x85EBCA77)
    return np.argsort((mixed >> np.uint32(16)).astype(np.uint16), kind="stable").astype(np.uint32)
