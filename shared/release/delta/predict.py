"""What a piece of a tensor is expected to be, from the base and from the scales of both files. Pure, integers only.

quantised weights and biases   the old integers times old scale over new scale, and how near each is to the next rounding border
scales of biases               the product of the input's and the weights' new scale, exactly
floats                         the old number; a unit is worth 2^exponent, so moves compare over all magnitudes
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from shared.release.delta.layout import Layout
from shared.release.delta.numbers import FLOAT32, Integers, exponents, ordered, products, quotients
from shared.release.delta.plan import COPY, FRESH, Piece, Step, form
from shared.release.delta.rans import Array
from shared.release.delta.residual import NEAR, Field

_ONE = 20
"""Bits below the point of a ratio of scales."""
_FLOAT_BYTES = 4

ReadOld = Callable[[int, int, int], bytes]
"""(tensor of the base, first byte, bytes) -> the bytes."""


class Predictions:
    """Predicts pieces of the result.

    Args:
        old: the base's layout.
        new: the result's.
        read: reads the base's tensors.
        heads: the result's tensors whose contents help to predict others once they are known.
    """

    def __init__(self, old: Layout, new: Layout, read: ReadOld, heads: Iterable[int]) -> None:
        self._old = old
        self._new = new
        self._read = read
        self._heads = frozenset(heads)
        self._known: dict[bytes, bytes] = {}
        self._places = {one.name: index for index, one in enumerate(old.tensors)}

    def learn_copies(self, steps: Sequence[Step]) -> None:
        """Take the heads that the base has already; both directions do so before the first block."""
        for index in sorted(self._heads):
            if steps[index].method == COPY:
                self._known[self._new.tensors[index].name] = self._read(steps[index].base, 0, self._new.tensors[index].length)

    def learn(self, piece: Piece, content: bytes) -> None:
        """Take a piece that was coded; it counts when it is a whole head."""
        tensor = self._new.tensors[piece.tensor]
        if piece.tensor in self._heads and len(content) == tensor.length:
            self._known[tensor.name] = content

    def predict(self, piece: Piece, step: Step) -> tuple[Field, Integers]:
        """Return what is known of a piece, and its expected elements as ordered integers."""
        if step.method == FRESH:
            return Field(rows=piece.rows, columns=piece.columns, wide=piece.kind.wide), np.zeros(piece.elements, np.int32)
        old = ordered(self._read(step.base, piece.begin * piece.kind.bytes, piece.length), piece.kind)
        if piece.kind.floating:
            old = self._product(piece, old)
            offsets = exponents(old, piece.kind) << 2
            return Field(rows=piece.rows, columns=piece.columns, wide=True, offsets=offsets), old
        ratios = self._ratios(piece, step)
        if ratios is None:
            return Field(rows=piece.rows, columns=piece.columns, wide=piece.kind.wide), old
        expected, lean = _rescaled(old, ratios, piece)
        return Field(rows=piece.rows, columns=piece.columns, wide=piece.kind.wide, lean=lean), expected

    def _product(self, piece: Piece, old: Integers) -> Integers:
        """Return the product of two scales where the piece is one, else `old`."""
        tensor = self._new.tensors[piece.tensor]
        factors = [self._new_values(name) for name in self._new.links.products.get(tensor.name, ())]
        if tensor.kind != FLOAT32 or len(factors) != 2 or None in factors or piece.begin:
            return old
        left, right = (factor or b"" for factor in factors)
        if len(left) != _FLOAT_BYTES or len(right) != piece.length:
            return old
        return ordered(products(left, right), piece.kind)

    def _ratios(self, piece: Piece, step: Step) -> Array | None:
        """Return old scale over new scale times 2^20, shaped to multiply the piece; None where they are unknown or all the same."""
        tensor, before = self._new.tensors[piece.tensor], self._old.tensors[step.base]
        above = self._old_values(self._old.links.scales.get(before.name))
        below = self._new_values(self._new.links.scales.get(tensor.name))
        if above is None or below is None or len(above) != len(below) or len(above) % _FLOAT_BYTES or above == below:
            return None
        count, (rows, columns) = len(above) // _FLOAT_BYTES, form(tensor, piece.kind)
        if rows * columns * piece.kind.bytes != tensor.length:
            return None
        found = quotients(above, below)
        if count == rows:
            first = piece.begin // columns
            return found[first : first + piece.rows, None]
        return found[None, :] if count in {columns, 1} else None

    def _new_values(self, name: bytes | None) -> bytes | None:
        return None if name is None else self._known.get(name, self._new.links.small.get(name))

    def _old_values(self, name: bytes | None) -> bytes | None:
        if name in self._places:
            place = self._places[name]
            return self._read(place, 0, self._old.tensors[place].length)
        return None if name is None else self._old.links.small.get(name)


def _rescaled(old: Integers, ratios: Array, piece: Piece) -> tuple[Integers, npt.NDArray[np.int8]]:
    """Return the old integers in the new scale, rounded, and how near each is to the next border."""
    exact = (old.reshape(piece.rows, piece.columns) * ratios).ravel()
    rounded = (exact + (1 << (_ONE - 1))) >> _ONE
    beyond = exact - (rounded << _ONE)  # -2^19 .. 2^19 - 1
    lean = beyond >> (_ONE - 1 - 3)
    lean = np.where(lean >= 0, lean + 1, lean)  # no class for what lies in the middle: it is neither above nor below
    lean[beyond == 0] = 0
    bounds = np.iinfo(piece.kind.dtype)
    return np.clip(rounded, bounds.min, bounds.max).astype(np.int32), np.clip(lean, -NEAR, NEAR).astype(np.int8)
