"""Dictionaries: what messages of a class have in common, so that a short one need not say it again. Pure.

A file is a `Dictionary`: which kinds it is for, and zstd's own dictionary. It is named by the SHA-256 of its bytes; a region announces the
digests of those it reads. Inside a compressed message zstd's 32-bit id stands for it: the first four bytes of the SHA-256 of what
follows the id in the dictionary, so that nobody hands out numbers.

Rules, in order:
1. Bytes are checked before use: length, digest, structure, id.
2. Samples are messages without pictures: `bare` takes a case's picture out before anything is learned from it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import msgspec
import zstandard

from shared.errors import InputError, ProtocolError
from shared.wire.messages import Case, Kind, Message, decode, encode

DICTIONARY_BYTES = 8 << 10
"""What is aimed at when one is trained: messages are tens to hundreds of bytes."""
LARGEST_DICTIONARY_BYTES = 64 << 10
FEWEST_SAMPLES = 64
_HEAD = struct.Struct("<II")
_MAGIC = 0xEC30A437


class Dictionary(Message, frozen=True, kw_only=True, array_like=True):
    """One dictionary: the kinds of messages it is for (`Kind` numbers), and zstd's dictionary."""

    kinds: tuple[int, ...]
    data: bytes

    @property
    def id(self) -> int:
        """Zstd's id of it, a u32."""
        return int(_HEAD.unpack_from(self.data)[1])

    @property
    def digest(self) -> bytes:
        """SHA-256 of its file: its name."""
        return hashlib.sha256(encode(self)).digest()


def read_dictionary(data: bytes, digest: bytes | None = None) -> Dictionary:
    """Read a dictionary's file.

    Args:
        data: the file.
        digest: the SHA-256 it must have; None believes the file.

    Raises:
        ProtocolError: too long, another one, or none.
    """
    if len(data) > LARGEST_DICTIONARY_BYTES:
        raise ProtocolError(f"a dictionary of {len(data)} bytes is longer than {LARGEST_DICTIONARY_BYTES}.")
    if digest is not None and hashlib.sha256(data).digest() != digest:
        raise ProtocolError("a dictionary is not the announced one.")
    found = decode(Dictionary, data)
    if len(found.data) <= _HEAD.size or _HEAD.unpack_from(found.data) != (_MAGIC, _id_of(found.data)):
        raise ProtocolError("these bytes are no dictionary.")
    try:
        zstandard.ZstdCompressionDict(found.data, dict_type=zstandard.DICT_TYPE_FULLDICT).precompute_compress(level=1)
    except zstandard.ZstdError as error:
        raise ProtocolError(f"zstd does not take the dictionary: {error}.") from None
    return found


def train(kinds: Sequence[Kind], samples: Sequence[bytes], *, size_bytes: int = DICTIONARY_BYTES) -> Dictionary:
    """Learn a dictionary from encoded messages (zstd's COVER, Liao et al. 2016).

    Args:
        kinds: the kinds of messages it will be for.
        samples: encoded messages without pictures.
        size_bytes: how long it may become.

    Raises:
        InputError: too few samples, or too much alike.
    """
    if len(samples) < FEWEST_SAMPLES:
        raise InputError(f"{len(samples)} messages are too few to learn from.", f"Wait until there are at least {FEWEST_SAMPLES}.")
    aimed = min(size_bytes, max(512, sum(map(len, samples)) // 8))
    try:
        raw = bytearray(zstandard.train_dictionary(aimed, list(samples)).as_bytes())
    except zstandard.ZstdError as error:
        raise InputError(f"zstd learns nothing from {len(samples)} messages: {error}.", "Gather more of them.") from None
    _HEAD.pack_into(raw, 0, _MAGIC, _id_of(bytes(raw)))
    return Dictionary(kinds=tuple(int(kind) for kind in kinds), data=bytes(raw))


def bare(case: Case) -> bytes:
    """Return a case's bytes without its picture: what may be learned from."""
    return encode(msgspec.structs.replace(case, picture=msgspec.structs.replace(case.picture, data=b"")))


def _id_of(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data[_HEAD.size :]).digest()[:4], "little")
