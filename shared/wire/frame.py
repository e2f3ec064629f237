"""Several small messages of a device in one envelope: the body of a `Kind.FRAME`. Pure.

    part    kind u8 | sequence u64 | length u16 | payload          (big-endian; as many as there are, nothing behind the last)

A frame is one chunk. It is compressed as a whole, so that its parts share what they have in common, and costs one seal and one
envelope counter. What may share a frame and how long the first waits for the others is decided by whoever sends.

Rules of `unpack`, in order: the frame's length; at most `MOST_PARTS` parts, at least one; only kinds that a device sends and that are
no frames themselves; every length lies within the frame.

Example:
    >>> [part.payload for part in unpack(pack([Part(kind=Kind.TELEMETRY, payload=b"a"), Part(kind=Kind.CASE, sequence=7, payload=b"b")]))]
    [b'a', b'b']
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

from shared.errors import ProtocolError
from shared.wire.chunks import CHUNK_BYTES
from shared.wire.messages import CASES, Kind

FRAME_BYTES = CHUNK_BYTES
MOST_PARTS = 64
KINDS = (*CASES, Kind.TELEMETRY, Kind.UPDATE_REPORT)
"""What may travel in a frame."""
_PART = struct.Struct(">BQH")
PART_BYTES = _PART.size
"""What a part costs on top of its payload."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a frame; `sequence` is a case's, 0 for others; `payload` is not compressed."""

    kind: Kind
    sequence: int = 0
    payload: bytes


def size_of(lengths: Sequence[int]) -> int:
    """Return the bytes of a frame whose payloads have these lengths."""
    return sum(lengths) + PART_BYTES * len(lengths)


def pack(parts: Sequence[Part]) -> bytes:
    """Return a frame's body.

    Raises:
        ProtocolError: nothing to pack, too much of it, or a kind that does not travel in frames.
    """
    if not 0 < len(parts) <= MOST_PARTS or any(part.kind not in KINDS for part in parts):
        raise ProtocolError(f"{len(parts)} messages cannot share a frame.")
    size = size_of([len(part.payload) for part in parts])
    if size > FRAME_BYTES:
        raise ProtocolError(f"a frame of {size} bytes is longer than {FRAME_BYTES}.")
    return b"".join(_PART.pack(part.kind, part.sequence, len(part.payload)) + part.payload for part in parts)


def unpack(data: bytes) -> tuple[Part, ...]:
    """Return the messages of a frame.

    Raises:
        ProtocolError: not a frame.
    """
    if not 0 < len(data) <= FRAME_BYTES:
        raise ProtocolError(f"a frame of {len(data)} bytes is outside 1 to {FRAME_BYTES}.")
    parts: list[Part] = []
    at = 0
    while at < len(data):
        if len(parts) == MOST_PARTS:
            raise ProtocolError(f"a frame holds more than {MOST_PARTS} messages.")
        part = _part_at(data, at)
        parts.append(part)
        at += PART_BYTES + len(part.payload)
    return tuple(parts)


def _part_at(data: bytes, at: int) -> Part:
    begin = at + PART_BYTES
    if begin > len(data):
        raise ProtocolError("a frame ends within a part's header.")
    kind, sequence, length = _PART.unpack_from(data, at)
    if kind not in KINDS:
        raise ProtocolError(f"a message of kind {kind} does not travel in a frame.")
    if begin + length > len(data):
        raise ProtocolError("a frame ends within a part.")
    return Part(kind=Kind(kind), sequence=sequence, payload=data[begin : begin + length])
