"""The live state of a device as bytes, and what of it may be used after a restart. Pure; livekeeper reads and writes the files.

Two files. `live.state` holds the whole state: written aside, synced and renamed at intervals and at the end. `live.drawn` holds how many
audit samples were drawn, raised in place before each one leaves; a kill -9 does not take back what was written. Rules, in order:
1. A file whose digest is not right is damaged, one of another format foreign; either is told and nothing of it is used.
2. Both files carry the id of one life: what began with one release and went on over restarts. A state without its count is of no use,
   since nobody knows how many samples came after it, unless the agent ended in order.
3. Samples drawn after the state was written are missing: their answers were lost or never came. The interval takes missing
   samples at their worst, so no kill makes the estimate look better than it is.

Example:
    >>> drawn_from(drawn_bytes(Drawn(life=bytes(16), count=7))).count
    7
"""

from __future__ import annotations

import hashlib
import itertools
import struct
import zlib
from collections.abc import Iterable

import msgspec

from edge.spending import SpendingMemory
from shared.deferral.livememory import Count, LiveMemory
from shared.errors import StorageError
from shared.wire.messages import Prediction

MAGIC = b"terrace live 1\n"
LIFE_BYTES = 16
MOST_WAITING, MOST_WAITING_BYTES = 512, 256 << 10
"""Samples waiting for their answer that outlive a restart: so many, and so many bytes of them."""
_DIGEST_BYTES = 32
_DRAWN = struct.Struct("<16sQI")
DRAWN_BYTES = _DRAWN.size


class WaitingSample(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """An audit sample whose case lies in the spool or at the region: its sequence there, its number here, what the student said.

    `inherited` is the answer that stood in the student's place, None where the student's stood.
    """

    sequence: Count
    number: Count
    prediction: Prediction
    score: float
    kept: bool
    owed: bool
    inherited: Prediction | None = None


class AuditMemory(msgspec.Struct, frozen=True, kw_only=True):
    """The live risk of one release: which model (its SHA-256), in which spool its samples wait."""

    release: Count
    model: str
    spool_id: bytes
    live: LiveMemory
    waiting: tuple[WaitingSample, ...]


class LiveFile(msgspec.Struct, frozen=True, kw_only=True):
    """The whole state: of which life, when it was written (Unix seconds), and whether the agent ended in order with it."""

    life: bytes
    written_at: float
    is_clean: bool
    audits: AuditMemory
    spending: SpendingMemory


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """How many samples a life has drawn."""

    life: bytes
    count: int


class Recollection(msgspec.Struct, frozen=True, kw_only=True):
    """What may be gone on from: the state, seconds since it was written, samples drawn until the end."""

    file: LiveFile
    away_s: float
    drawn: int


def fitting(newest_first: Iterable[WaitingSample]) -> tuple[WaitingSample, ...]:
    """Return as many of the newest waiting samples as are kept, the oldest first; the others are missing after a restart."""
    kept: list[WaitingSample] = []
    left = MOST_WAITING_BYTES
    for sample in itertools.islice(newest_first, MOST_WAITING):
        left -= len(msgspec.msgpack.encode(sample))  # a prediction may hold a map of a megabyte
        if left < 0:
            break
        kept.append(sample)
    return tuple(reversed(kept))


def encode(state: LiveFile) -> bytes:
    """Return the file."""
    body = msgspec.msgpack.encode(state)
    return MAGIC + hashlib.sha256(body).digest() + body


def decode(data: bytes) -> LiveFile:
    """Return the state.

    Raises:
        StorageError: damaged, or of another format.
    """
    if not data.startswith(MAGIC):
        raise StorageError("it is of another format.")
    digest, body = data[len(MAGIC) : len(MAGIC) + _DIGEST_BYTES], data[len(MAGIC) + _DIGEST_BYTES :]
    if hashlib.sha256(body).digest() != digest:
        raise StorageError("it is damaged.")
    try:
        return msgspec.msgpack.decode(body, type=LiveFile)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StorageError(f"it is of another format: {error}.") from error


def drawn_bytes(drawn: Drawn) -> bytes:
    """Return the count's file."""
    return _DRAWN.pack(drawn.life, drawn.count, _check(drawn))


def drawn_from(data: bytes) -> Drawn | None:
    """Return the count; None where it is damaged."""
    if len(data) != DRAWN_BYTES:
        return None
    life, count, check = _DRAWN.unpack(data)
    drawn = Drawn(life=life, count=count)
    return drawn if check == _check(drawn) else None


def recollect(file: LiveFile, drawn: Drawn | None, *, wall: float) -> Recollection:
    """Return what may be gone on from (rule 2).

    Args:
        file: the state.
        drawn: the count beside it, None without a good one.
        wall: Unix seconds.

    Raises:
        StorageError: nobody knows what came after the state.
    """
    known = drawn.count if drawn is not None and drawn.life == file.life else file.audits.live.drawn if file.is_clean else -1
    if known < file.audits.live.drawn:
        raise StorageError("how many samples were drawn after it is not known.")
    return Recollection(file=file, away_s=max(0.0, wall - file.written_at), drawn=known)


def _check(drawn: Drawn) -> int:
    return zlib.crc32(drawn.life + drawn.count.to_bytes(8, "little"))
