"""The delta codec: bytes of an old and a new file in, a small container out; and back, byte for byte.

Pure: no files, no clock. What a delta may contain is bounded by what signed metadata says of its result, never by its own header.

Container (big-endian), 82 bytes and a payload:
    magic "TDLT" | version u8 | codec u8 | SHA-256 of the base | SHA-256 of the result | result length u64 | CRC-32 of all the rest

Codecs; `make` tries those that apply and the smallest container wins:
    1 subtract  equal lengths only: bytes of new minus old, modulo 256, under zstd level 19 (quantised weights that moved a little)
    2 prefix    zstd level 19 with the old file as its dictionary (what moved or was inserted)
    3 full      zstd level 19 alone: the fallback, never larger than the file by more than a few bytes

`apply` checks, in order: container, checksum, base hash, result hash and length against the caller's, declared sizes; only then
is memory taken; last the hash of what came out.

Example:
    >>> old, new = b"weights" * 99, b"weights" * 98 + b"Weights"
    >>> apply(old, make(old, new), expect_sha256=digest(new).hex(), limit_bytes=10_000) == new
    True
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable

import msgspec
import numpy as np
import zstandard

from shared.errors import ProtocolError, TrustError

MAGIC = b"TDLT"
VERSION = 1
SUBTRACT, PREFIX, FULL = 1, 2, 3
NAMES = {SUBTRACT: "subtract", PREFIX: "prefix", FULL: "full"}
LEVEL = 19
LARGEST_WINDOW_LOG = 27
"""zstd's limit for level 19 frames: 128 MB of history, more than any model here."""

_HEADER = struct.Struct(">4sBB32s32sQ")
_CHECKSUM = struct.Struct(">I")
HEADER_BYTES = _HEADER.size + _CHECKSUM.size


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a delta says of itself; hashes are SHA-256, 32 bytes."""

    codec: int
    base: bytes
    result: bytes
    result_bytes: int


def digest(data: bytes) -> bytes:
    """Return the SHA-256 of `data`, 32 bytes."""
    return hashlib.sha256(data).digest()


def make(old: bytes, new: bytes) -> bytes:
    """Return the smallest delta that turns `old` into `new`.

    Deterministic for one version of zstd; what matters is that `apply` rebuilds `new` exactly with any version.
    """
    payloads = {PREFIX: _pack_prefix(old, new), FULL: _compressor(len(new)).compress(new)}
    if len(old) == len(new):
        payloads[SUBTRACT] = _compressor(len(new)).compress(_subtract(new, old))
    codec = min(payloads, key=lambda one: (len(payloads[one]), -one))  # the simpler codec on a tie
    return _seal(_HEADER.pack(MAGIC, VERSION, codec, digest(old), digest(new), len(new)), payloads[codec])


def read_header(delta: bytes) -> Header:
    """Parse a delta's header and check its checksum.

    Raises:
        ProtocolError: no delta, damaged, or of a version or codec this agent does not know.
    """
    if len(delta) < HEADER_BYTES or delta[:4] != MAGIC:
        raise ProtocolError("this is no delta.")
    _, version, codec, base, result, length = _HEADER.unpack_from(delta)
    (checksum,) = _CHECKSUM.unpack_from(delta, _HEADER.size)
    if checksum != _checksum(delta[: _HEADER.size], delta[HEADER_BYTES:]):
        raise ProtocolError("the delta is damaged: its checksum does not fit.")
    if version != VERSION or codec not in NAMES:
        raise ProtocolError(f"a delta of version {version}, codec {codec} is not known here.", "Update the agent, or fetch the full file.")
    return Header(codec=codec, base=base, result=result, result_bytes=length)


def apply(old: bytes, delta: bytes, *, expect_sha256: str, limit_bytes: int) -> bytes:
    """Rebuild the new file.

    Args:
        old: the file the delta was made from.
        delta: the container.
        expect_sha256: hex hash of the result, from signed metadata.
        limit_bytes: length of the result, or the most it may have, from signed metadata.

    Returns:
        The new file, whose hash is `expect_sha256`.

    Raises:
        ProtocolError: the container is damaged or unknown.
        TrustError: it belongs to another base or result, claims more than the limit, or rebuilds something else.
    """
    header = read_header(delta)
    if header.base != digest(old):
        raise TrustError("the delta was made from another file than this device has.", "Fetch the full file.")
    if header.result.hex() != expect_sha256:
        raise TrustError("the delta leads to another file than the signed metadata names.", "Fetch the full file.")
    if header.result_bytes > limit_bytes:
        raise TrustError(f"the delta claims a result of {header.result_bytes} bytes, signed metadata allows {limit_bytes}.")
    if header.codec == SUBTRACT and len(old) != header.result_bytes:
        raise ProtocolError("a subtracting delta must keep the length of the file.")
    new = _UNPACK[header.codec](old, delta[HEADER_BYTES:], header.result_bytes)
    if digest(new) != header.result:
        raise TrustError("the delta rebuilt a file with another hash.", "Fetch the full file.")
    return new


def _seal(header: bytes, payload: bytes) -> bytes:
    return header + _CHECKSUM.pack(_checksum(header, payload)) + payload


def _checksum(header: bytes, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(header))


def _compressor(size: int, dictionary: zstandard.ZstdCompressionDict | None = None, history: int = 0) -> zstandard.ZstdCompressor:
    window = min(max((size + history).bit_length(), 10), LARGEST_WINDOW_LOG)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, source_size=size, dict_size=history, window_log=window, write_content_size=True, enable_ldm=history > 0
    )
    return zstandard.ZstdCompressor(compression_params=parameters, dict_data=dictionary)


def _pack_prefix(old: bytes, new: bytes) -> bytes:
    if len(old) < 8:
        return _compressor(len(new)).compress(new)  # zstd ignores a shorter dictionary, and so does _unpack_prefix
    return _compressor(len(new), _dictionary(old), len(old)).compress(new)


def _dictionary(old: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _subtract(left: bytes, right: bytes) -> bytes:
    return np.subtract(np.frombuffer(left, np.uint8), np.frombuffer(right, np.uint8)).tobytes()


def _unpack_subtract(old: bytes, payload: bytes, length: int) -> bytes:
    moved = _decompress(zstandard.ZstdDecompressor(max_window_size=1 << LARGEST_WINDOW_LOG), payload, length)
    return np.add(np.frombuffer(old, np.uint8), np.frombuffer(moved, np.uint8)).tobytes()


def _unpack_prefix(old: bytes, payload: bytes, length: int) -> bytes:
    dictionary = _dictionary(old) if len(old) >= 8 else None
    return _decompress(zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=1 << LARGEST_WINDOW_LOG), payload, length)


def _unpack_full(old: bytes, payload: bytes, length: int) -> bytes:
    del old
    return _decompress(zstandard.ZstdDecompressor(max_window_size=1 << LARGEST_WINDOW_LOG), payload, length)


def _decompress(decompressor: zstandard.ZstdDecompressor, payload: bytes, length: int) -> bytes:
    try:
        # the frame's own claim is what zstd allocates, so it is compared before anything is unpacked
        if zstandard.frame_content_size(payload) != length:
            raise ProtocolError("the delta's frame has another size than its header says.")
        return decompressor.decompress(payload, max_output_size=length, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ProtocolError(f"the delta cannot be unpacked: {error}.") from None


_UNPACK: dict[int, Callable[[bytes, bytes, int], bytes]] = {SUBTRACT: _unpack_subtract, PREFIX: _unpack_prefix, FULL: _unpack_full}
