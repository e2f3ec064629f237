"""Makes deltas: by tensors where both files are ONNX models, else of whole files; the smallest container wins. Pure."""

from __future__ import annotations

import hashlib

from shared.errors import ProtocolError
from shared.release.delta.container import TENSORS, Header, seal, write_block, write_preface
from shared.release.delta.frames import LEVEL, QUICK, compress
from shared.release.delta.layout import Layout, Tensor, of_file, skeleton_of
from shared.release.delta.numbers import kind_of
from shared.release.delta.plan import COPY, FRESH, MOVED, NO_BASE, PLAIN, Piece, Step, bases, blocks, heads, write_steps
from shared.release.delta.predict import Predictions
from shared.release.delta.source import Memory
from shared.release.delta.tensors import encode
from shared.release.delta.whole import packings

WORTH_TRYING = 5, 4
"""A codec of whole files is tried at full strength when its quick try is below 5/4 of the best so far."""


def digest(data: bytes) -> bytes:
    """Return the SHA-256 of `data`, 32 bytes."""
    return hashlib.sha256(data).digest()


def make(old: bytes, new: bytes) -> bytes:
    """Return the smallest delta that turns `old` into `new`.

    Deterministic for one version of zstd; what matters is that `apply` rebuilds `new` exactly with any version.
    """
    best = _by_tensors(old, new)
    above, below = WORTH_TRYING
    for codec, packing in sorted(packings(old, new).items(), reverse=True):  # the simpler codec on a tie
        header = Header(codec=codec, base=digest(old), result=digest(new), result_bytes=len(new))
        if best is not None and len(packing(QUICK)) * below > len(best) * above:
            continue
        found = seal(header, packing(LEVEL))
        best = found if best is None or len(found) < len(best) else best
    assert best is not None  # noqa: S101 - FULL always applies
    return best


def _by_tensors(old: bytes, new: bytes) -> bytes | None:
    """Return the delta by tensors, or None where one of the files is no model with tensors."""
    try:
        before, after = of_file(Memory(old)), of_file(Memory(new))
    except ProtocolError:
        return None
    if not before.tensors or not after.tensors:
        return None
    skeletons = skeleton_of(Memory(old), before), skeleton_of(Memory(new), after)
    patch = b"" if skeletons[0] == skeletons[1] else compress(skeletons[1], dictionary=skeletons[0])
    steps = _steps(old, new, before, after)
    preface = write_preface(len(skeletons[1]), patch, compress(write_steps(steps, bases(before, after))))
    header = Header(codec=TENSORS, base=digest(old), result=digest(new), result_bytes=len(new))
    return seal(header, preface, b"".join(_blocks(old, new, before, after, steps)))


def _steps(old: bytes, new: bytes, before: Layout, after: Layout) -> list[Step]:
    """Return how each tensor is best made; a renamed tensor is found by its type and shape."""
    usual = bases(before, after)
    free: dict[tuple[int, tuple[int, ...], int], list[int]] = {}
    for index in sorted(set(range(len(before.tensors))) - set(usual)):
        one = before.tensors[index]
        free.setdefault((one.kind, one.dims, one.length), []).append(index)
    steps = []
    for index, tensor in enumerate(after.tensors):
        content, base = _content(new, tensor), usual[index]
        alike = free.get((tensor.kind, tensor.dims, tensor.length))
        if base == NO_BASE and alike:
            same = [one for one in alike if _content(old, before.tensors[one]) == content]
            base = (same or alike)[0]
            alike.remove(base)
        steps.append(_step(tensor, content, base, None if base == NO_BASE else _content(old, before.tensors[base])))
    return steps


def _step(tensor: Tensor, content: bytes, base: int, before: bytes | None) -> Step:
    if before == content:
        return Step(method=COPY, base=base)
    if before is not None:
        return Step(method=MOVED, base=base)
    kind = kind_of(tensor.kind, tensor.length)
    return Step(method=PLAIN if kind.wide else FRESH, base=base)


def _content(data: bytes, tensor: Tensor) -> bytes:
    return data[tensor.place : tensor.place + tensor.length]


def _blocks(old: bytes, new: bytes, before: Layout, after: Layout, steps: list[Step]) -> list[bytes]:
    def read(index: int, begin: int, length: int) -> bytes:
        return _content(old, before.tensors[index])[begin : begin + length]

    first = heads(after)
    predictions = Predictions(before, after, read, first)
    predictions.learn_copies(steps)
    rest = sorted(set(range(len(after.tensors))) - set(first))
    found = []
    for group in (first, rest):
        for block in blocks(after, steps, group):
            contents = [_part(new, after.tensors[piece.tensor], piece) for piece in block]
            found.append(write_block(encode(block, steps, predictions, contents)))
    return found


def _part(data: bytes, tensor: Tensor, piece: Piece) -> bytes:
    begin = tensor.place + piece.begin * piece.kind.bytes
    return data[begin : begin + piece.length]
