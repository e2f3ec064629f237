"""Applies deltas, in memory that does not grow with the files: the base is read where it is needed, the result leaves piece by piece. Pure.

Rules, in order: container and checksum; base hash, result hash and length against the caller's; declared sizes; only then is memory taken;
last the length and hash of what came out. Until `rebuild` has ended without an error, nothing it yielded may be used.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator

from shared.errors import ProtocolError, TrustError
from shared.release.delta.container import HEADER_BYTES, TENSORS, Header, Preface, read, read_block, read_preface
from shared.release.delta.frames import claim, decompress
from shared.release.delta.layout import MOST_TENSORS, Layout, of_file, of_skeleton, skeleton_of
from shared.release.delta.plan import COPY, Step, blocks, heads, pieces, read_steps
from shared.release.delta.predict import Predictions
from shared.release.delta.source import Memory, Sink, Source
from shared.release.delta.tensors import decode
from shared.release.delta.whole import unpack

_CHUNK = 1 << 20


def read_header(delta: bytes) -> Header:
    """Parse a delta's header and check its checksum.

    Raises:
        ProtocolError: no delta, damaged, or of a version or codec this agent does not know.
    """
    return read(Memory(delta))


def apply(old: bytes, delta: bytes, *, expect_sha256: str, limit_bytes: int) -> bytes:
    """Rebuild the new file in memory; see `rebuild`."""
    return b"".join(rebuild(Memory(old), Memory(delta), expect_sha256=expect_sha256, limit_bytes=limit_bytes))


def apply_to(old: Source, delta: Source, sink: Sink, *, expect_sha256: str, limit_bytes: int) -> None:
    """Rebuild the new file into a sink; see `rebuild`."""
    for piece in rebuild(old, delta, expect_sha256=expect_sha256, limit_bytes=limit_bytes):
        sink(piece)


def rebuild(old: Source, delta: Source, *, expect_sha256: str, limit_bytes: int) -> Iterator[bytes]:
    """Yield the new file piece by piece.

    Args:
        old: the file the delta was made from.
        delta: the container.
        expect_sha256: hex hash of the result, from signed metadata.
        limit_bytes: length of the result, or the most it may have, from signed metadata.

    Raises:
        ProtocolError: the container is damaged or unknown.
        TrustError: it belongs to another base or result, claims more than the limit, or rebuilds something else.
    """
    header = read(delta)
    if header.result_bytes > limit_bytes:
        raise TrustError(f"the delta claims a result of {header.result_bytes} bytes, signed metadata allows {limit_bytes}.")
    if header.result.hex() != expect_sha256:
        raise TrustError("the delta leads to another file than the signed metadata names.", "Fetch the full file.")
    if header.base != _hash(old):
        raise TrustError("the delta was made from another file than this device has.", "Fetch the full file.")
    running, made = hashlib.sha256(), 0
    for piece in _by_tensors(old, delta, header) if header.codec == TENSORS else _whole(old, delta, header):
        running.update(piece)
        made += len(piece)
        yield piece
    if running.digest() != header.result or made != header.result_bytes:
        raise TrustError("the delta rebuilt a file with another hash.", "Fetch the full file.")


def _hash(source: Source) -> bytes:
    running = hashlib.sha256()
    for at in range(0, source.length, _CHUNK):
        running.update(source.read(at, _CHUNK))
    return running.digest()


def _whole(old: Source, delta: Source, header: Header) -> Iterator[bytes]:
    payload = delta.read(HEADER_BYTES, delta.length)
    yield unpack(header.codec, old.read(0, old.length), payload, header.result_bytes)


def _by_tensors(old: Source, delta: Source, header: Header) -> Iterator[bytes]:
    preface = read_preface(delta)
    before = of_file(old)
    skeleton = _skeleton(old, before, preface)
    after = of_skeleton(Memory(skeleton), file_bytes=header.result_bytes)
    steps = read_steps(decompress(preface.steps, claim(preface.steps, 5 * MOST_TENSORS)), before, after)
    yield from _Assembly(old, delta, before, after, steps).pieces(skeleton, preface.blocks_at)


def _skeleton(old: Source, before: Layout, preface: Preface) -> bytes:
    skeleton = skeleton_of(old, before)
    return decompress(preface.patch, preface.skeleton_bytes, dictionary=skeleton) if preface.patch else skeleton


class _Assembly:
    """Puts skeleton, copies and blocks together in the file's order."""

    def __init__(self, old: Source, delta: Source, before: Layout, after: Layout, steps: list[Step]) -> None:
        self._old = old
        self._delta = delta
        self._before = before
        self._after = after
        self._steps = steps
        self._heads = heads(after)
        self._predictions = Predictions(before, after, self._read, self._heads)

    def pieces(self, skeleton: bytes, at: int) -> Iterator[bytes]:
        """Yield the file; `at` is where the blocks begin."""
        self._predictions.learn_copies(self._steps)
        kept: dict[int, bytes] = {}
        for block in blocks(self._after, self._steps, self._heads):
            inside, at = read_block(self._delta, at)
            for piece, content in zip(block, decode(block, self._steps, self._predictions, inside), strict=True):
                kept[piece.tensor] = kept.get(piece.tensor, b"") + content
        coming, cut = self._stream(at), 0
        for index, tensor in enumerate(self._after.tensors):
            yield skeleton[cut : tensor.cut]
            cut = tensor.cut
            if index in kept:
                yield kept[index]
            elif self._steps[index].method == COPY:
                yield from self._copy(self._steps[index].base)
            else:
                yield from itertools.islice(coming, sum(1 for _ in pieces(tensor, index)))
        yield skeleton[cut:]
        if next(coming, None) is not None:
            raise ProtocolError("the delta makes more than its result takes.")

    def _stream(self, at: int) -> Iterator[bytes]:
        """Yield what the blocks after the heads make, a piece at a time."""
        rest = sorted(set(range(len(self._after.tensors))) - set(self._heads))
        for block in blocks(self._after, self._steps, rest):
            inside, at = read_block(self._delta, at)
            yield from decode(block, self._steps, self._predictions, inside)
        if at != self._delta.length:
            raise ProtocolError("the delta has more bytes than its result takes.")

    def _copy(self, index: int) -> Iterator[bytes]:
        length = self._before.tensors[index].length
        for begin in range(0, length, _CHUNK):
            yield self._read(index, begin, min(_CHUNK, length - begin))

    def _read(self, index: int, begin: int, length: int) -> bytes:
        return self._old.read(self._before.tensors[index].place + begin, length)
