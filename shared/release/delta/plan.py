"""How a result is put together: a method per tensor, tensors cut into pieces of whole rows, pieces packed into blocks. Pure.

Both sides work it out from the two layouts and the list of methods alone. Rules, in order:
1. Scales come first (`heads`), those that are products of others last of them: the rest is predicted with their help, and they are small
   enough to be kept. Then all other tensors as the file has them.
2. A piece is at most PIECE_ELEMENTS elements and BLOCK_BYTES bytes of a tensor, whole rows where that is possible.
3. A block is as many pieces in order as fit BLOCK_BYTES and BLOCK_ELEMENTS; tensors that are copied are in no block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from shared.errors import ProtocolError
from shared.release.delta.layout import Layout, Tensor
from shared.release.delta.numbers import Kind, kind_of

COPY, MOVED, FRESH, PLAIN = range(4)
"""The base's bytes; residuals against the base; residuals against zero; zstd alone."""
BLOCK_BYTES = 4 << 20
BLOCK_ELEMENTS = 3 << 20
PIECE_ELEMENTS = 1 << 20
NO_BASE = -1


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """How one tensor of the result is made: by which method, and from which tensor of the base."""

    method: int
    base: int


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a tensor: which, from which element, as a matrix of how many rows and columns, of what kind."""

    tensor: int
    begin: int
    rows: int
    columns: int
    kind: Kind

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return self.rows * self.columns

    @property
    def length(self) -> int:
        """Its bytes."""
        return self.elements * self.kind.bytes


Block = tuple[Piece, ...]


def bases(old: Layout, new: Layout) -> list[int]:
    """Return the tensor of the base that each tensor of the result is taken to come from: same name, type and length, else NO_BASE."""
    known = {(one.name, one.kind, one.length): index for index, one in enumerate(old.tensors)}
    return [known.get((one.name, one.kind, one.length), NO_BASE) for one in new.tensors]


def write_steps(steps: Sequence[Step], usual: Sequence[int]) -> bytes:
    """Return the steps as bytes: methods, then bases as differences from `usual` (see `bases`), which are mostly zero."""
    other = np.array([step.base - base for step, base in zip(steps, usual, strict=True)], "<i4")
    return bytes(step.method for step in steps) + (other.tobytes() if other.any() else b"")


def read_steps(data: bytes, old: Layout, new: Layout) -> list[Step]:
    """Return the steps that were written.

    Raises:
        ProtocolError: they do not fit the layouts.
    """
    usual, count = bases(old, new), len(new.tensors)
    if len(data) not in {count, 5 * count}:
        raise ProtocolError("the delta has another number of tensors than its result.")
    other = np.frombuffer(data, "<i4", offset=count).tolist() if len(data) > count else [0] * count
    steps = [Step(method=data[index], base=usual[index] + other[index]) for index in range(count)]
    for step, tensor in zip(steps, new.tensors, strict=True):
        _check(step, tensor, old)
    return steps


def _check(step: Step, tensor: Tensor, old: Layout) -> None:
    if step.method > PLAIN:
        raise ProtocolError("the delta uses a method that is not known here.", "Update the agent, or fetch the full file.")
    if step.method in {COPY, MOVED}:
        if not 0 <= step.base < len(old.tensors) or old.tensors[step.base].length != tensor.length:
            raise ProtocolError("the delta takes a tensor from a place the base does not have.")
        if step.method == MOVED and old.tensors[step.base].kind != tensor.kind:
            raise ProtocolError("the delta takes a tensor from one of another type.")


def heads(layout: Layout) -> list[int]:
    """Return the tensors that come first: scales, products of scales last; none if they are more than a block."""
    names = set(layout.links.scales.values())
    found = [index for index, one in enumerate(layout.tensors) if one.name in names]
    found.sort(key=lambda index: (layout.tensors[index].name in layout.links.products, index))
    return found if sum(layout.tensors[index].length for index in found) <= BLOCK_BYTES else []


def blocks(layout: Layout, steps: Sequence[Step], chosen: Sequence[int]) -> Iterator[Block]:
    """Yield the blocks of some tensors, in their order."""
    block: list[Piece] = []
    room_bytes, room = BLOCK_BYTES, BLOCK_ELEMENTS
    for piece in (piece for index in chosen if steps[index].method != COPY for piece in pieces(layout.tensors[index], index)):
        if block and (piece.length > room_bytes or piece.elements > room):
            yield tuple(block)
            block, room_bytes, room = [], BLOCK_BYTES, BLOCK_ELEMENTS
        block.append(piece)
        room_bytes, room = room_bytes - piece.length, room - piece.elements
    if block:
        yield tuple(block)


def pieces(tensor: Tensor, index: int) -> Iterator[Piece]:
    """Yield the pieces of a tensor."""
    kind = kind_of(tensor.kind, tensor.length)
    rows, columns = form(tensor, kind)
    most = max(min(PIECE_ELEMENTS, BLOCK_BYTES // kind.bytes) // columns, 1)
    for first in range(0, rows, most):
        yield Piece(tensor=index, begin=first * columns, rows=min(most, rows - first), columns=columns, kind=kind)
    rest = tensor.length // kind.bytes - rows * columns
    if rest:
        yield Piece(tensor=index, begin=rows * columns, rows=1, columns=rest, kind=kind)


def form(tensor: Tensor, kind: Kind) -> tuple[int, int]:
    """Return the matrix a tensor is seen as: outputs by inputs; one row when its shape does not tell, short rows when that is too long."""
    count = tensor.length // kind.bytes
    columns = count
    if len(tensor.dims) > 1 and math.prod(tensor.dims) == count:
        columns = count // tensor.dims[0]
    if columns > PIECE_ELEMENTS // 4:
        columns = 1024
    return count // columns, columns
