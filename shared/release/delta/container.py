"""The container's header, common to all versions, and the blocks of version 2. Pure.

Big-endian. Header, 82 bytes:
    magic "TDLT" | version u8 | codec u8 | SHA-256 of the base | SHA-256 of the result | result length u64 | CRC-32
The CRC is over the header before it and, in version 1, all the rest; in version 2, the preface.

Version 1 (codecs of whole files): the payload follows. Version 2 (codec TENSORS):
    preface   skeleton's length u32 | length of its patch u32 | length of the steps u32 | patch | steps
    blocks    one after the other: length u32 | CRC-32 u32 | that many bytes
The patch is zstd with the base's skeleton as dictionary, empty where the skeletons are the same; the steps are zstd (see plan).
A block's bytes: length of the coded part u32 | binary logarithm of its lanes u8 | coded part (see rans) | zstd of what is coded plainly.
"""

from __future__ import annotations

import struct
import zlib

import msgspec

from shared.errors import ProtocolError
from shared.release.delta.layout import LARGEST_SKELETON, MOST_TENSORS
from shared.release.delta.plan import BLOCK_BYTES
from shared.release.delta.source import Source

MAGIC = b"TDLT"
WHOLE_VERSION, TENSOR_VERSION = 1, 2
SUBTRACT, PREFIX, FULL, TENSORS = 1, 2, 3, 4
NAMES = {SUBTRACT: "subtract", PREFIX: "prefix", FULL: "full", TENSORS: "tensors"}
_VERSIONS = {SUBTRACT: WHOLE_VERSION, PREFIX: WHOLE_VERSION, FULL: WHOLE_VERSION, TENSORS: TENSOR_VERSION}
LARGEST_BLOCK = 2 * BLOCK_BYTES
"""A block that takes more than it makes, with room for lanes, was not made by us."""

_HEADER = struct.Struct(">4sBB32s32sQ")
_CHECKSUM = struct.Struct(">I")
_PREFACE = struct.Struct(">III")
_BLOCK = struct.Struct(">II")
_INSIDE = struct.Struct(">IB")
HEADER_BYTES = _HEADER.size + _CHECKSUM.size
_CHUNK = 1 << 20


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a delta says of itself; hashes are SHA-256, 32 bytes."""

    codec: int
    base: bytes
    result: bytes
    result_bytes: int


class Preface(msgspec.Struct, frozen=True, kw_only=True):
    """The first part of a delta by tensors: the skeleton's length, its patch, the steps, and where the blocks begin."""

    skeleton_bytes: int
    patch: bytes
    steps: bytes
    blocks_at: int


class Inside(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a block: lanes, coded part, plain part."""

    lanes: int
    coded: bytes
    plain: bytes


def seal(header: Header, rest: bytes, blocks: bytes = b"") -> bytes:
    """Return a container; the checksum covers `rest`, blocks have their own."""
    head = _HEADER.pack(MAGIC, _VERSIONS[header.codec], header.codec, header.base, header.result, header.result_bytes)
    return head + _CHECKSUM.pack(checksum(head, rest)) + rest + blocks


def checksum(*parts: bytes) -> int:
    """Return the CRC-32 of parts in a row."""
    found = 0
    for part in parts:
        found = zlib.crc32(part, found)
    return found


def read(delta: Source) -> Header:
    """Parse a delta's header and check its checksum.

    Raises:
        ProtocolError: no delta, damaged, or of a version or codec this agent does not know.
    """
    head = delta.read(0, HEADER_BYTES)
    if len(head) < HEADER_BYTES or head[:4] != MAGIC:
        raise ProtocolError("this is no delta.")
    _, version, codec, base, result, length = _HEADER.unpack_from(head)
    end = HEADER_BYTES + _PREFACE.size + sum(_sizes(delta)[1:]) if version == TENSOR_VERSION else delta.length
    (expected,) = _CHECKSUM.unpack_from(head, _HEADER.size)
    if expected != _running(delta, head[: _HEADER.size], end):
        raise ProtocolError("the delta is damaged: its checksum does not fit.")
    if _VERSIONS.get(codec) != version:
        raise ProtocolError(f"a delta of version {version}, codec {codec} is not known here.", "Update the agent, or fetch the full file.")
    return Header(codec=codec, base=base, result=result, result_bytes=length)


def _running(delta: Source, head: bytes, end: int) -> int:
    found = zlib.crc32(head)
    for at in range(HEADER_BYTES, end, _CHUNK):
        found = zlib.crc32(delta.read(at, min(_CHUNK, end - at)), found)
    return found


def write_preface(skeleton_bytes: int, patch: bytes, steps: bytes) -> bytes:
    """Return the preface."""
    return _PREFACE.pack(skeleton_bytes, len(patch), len(steps)) + patch + steps


def read_preface(delta: Source) -> Preface:
    """Read the preface; the header was read before.

    Raises:
        ProtocolError: it is larger than any can be, or cut short.
    """
    skeleton, patch, steps = _sizes(delta)
    at = HEADER_BYTES + _PREFACE.size
    data = delta.read(at, patch + steps)
    return Preface(skeleton_bytes=skeleton, patch=data[:patch], steps=data[patch:], blocks_at=at + patch + steps)


def _sizes(delta: Source) -> tuple[int, int, int]:
    data = delta.read(HEADER_BYTES, _PREFACE.size)
    if len(data) < _PREFACE.size:
        raise ProtocolError("the delta is cut short.")
    skeleton, patch, steps = _PREFACE.unpack(data)
    if max(skeleton, patch) > LARGEST_SKELETON or steps > 8 * MOST_TENSORS or HEADER_BYTES + patch + steps > delta.length:
        raise ProtocolError("the delta's preface is larger than any can be.")
    return skeleton, patch, steps


def write_block(inside: Inside) -> bytes:
    """Return a block with its length and checksum."""
    data = _INSIDE.pack(len(inside.coded), inside.lanes.bit_length() - 1) + inside.coded + inside.plain
    return _BLOCK.pack(len(data), checksum(data)) + data


def read_block(delta: Source, at: int) -> tuple[Inside, int]:
    """Return the block at a place, and the place after it.

    Raises:
        ProtocolError: it is damaged, cut short, or larger than any can be.
    """
    head = delta.read(at, _BLOCK.size)
    if len(head) < _BLOCK.size:
        raise ProtocolError("the delta is cut short.")
    length, expected = _BLOCK.unpack(head)
    if not _INSIDE.size <= length <= LARGEST_BLOCK:
        raise ProtocolError("a block of the delta is larger than any can be.")
    data = delta.read(at + _BLOCK.size, length)
    if len(data) != length or checksum(data) != expected:
        raise ProtocolError("the delta is damaged: a block's checksum does not fit.")
    coded, lanes = _INSIDE.unpack_from(data)
    if coded > length - _INSIDE.size or lanes > 16:
        raise ProtocolError("a block of the delta says more than it holds.")
    parts = data[_INSIDE.size : _INSIDE.size + coded], data[_INSIDE.size + coded :]
    return Inside(lanes=1 << lanes, coded=parts[0], plain=parts[1]), at + _BLOCK.size + length
