"""How a spool's segments are written: a header, then records, each sealed under the local key. Pure: bytes in, bytes out.

    segment header  magic, version, spool id, number, first, floor, nonce, tag, crc                          80 bytes
    record          magic, kind, flags, size, sequence, floor, value, nonce, crc of body, crc of head        52 bytes
                    body: the sealed payload (AES-256-GCM), 16 bytes longer than the payload

`first` is a sequence that was free when the segment was begun: whatever else is lost, sequences go on above it. `floor` is the
lowest sequence that may still be sent again. A record of kind FLOOR has no payload and raises the floor.

Rules, in order:
1. Checksums find what a crash tore, without the key; the seal finds what was forged, moved or rotted.
2. A seal is bound to spool, kind, sequence, value and floor, not to a place: records may be copied to another segment as they are.
3. A scan ends where no record's head stands. A record whose body is damaged is passed over: its head tells where the next begins.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.link.retention import Waiting

VERSION = 1
NONCE_BYTES, TAG_BYTES = 12, 16
_MAGIC, _RECORD_MAGIC = b"TSEG", b"TR"
_HEADER = struct.Struct("<4sI16sQQQ12s16sI")
_HEAD = struct.Struct("<2sBBIQQd12sII")
_AUDIT = 1
HEADER_BYTES = _HEADER.size
HEAD_BYTES = _HEAD.size
OVERHEAD_BYTES = HEAD_BYTES + TAG_BYTES
"""What a record adds to its payload."""


class RecordKind(IntEnum):
    """What a record says."""

    CASE = 1
    FLOOR = 2


class SegmentHeader(msgspec.Struct, frozen=True, kw_only=True):
    """Whose segment it is, which, and what held when it was begun."""

    spool_id: bytes
    number: int
    first: int
    floor: int


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """A record's head. `size` is the payload's, in bytes; `is_whole` says that the body's checksum holds."""

    kind: RecordKind
    is_audit: bool
    size: int
    sequence: int
    floor: int
    value: float
    is_whole: bool = True

    @property
    def item(self) -> Waiting:
        """The case it holds."""
        return Waiting(sequence=self.sequence, size=self.size, is_audit=self.is_audit, value=self.value)


class Sealing:
    """Seals and opens headers and records of one spool.

    Args:
        key: the local key, 32 bytes.
        spool_id: 16 bytes.
    """

    def __init__(self, key: bytes, spool_id: bytes) -> None:
        self._aead = AESGCM(key)
        self.spool_id = spool_id

    def header(self, *, number: int, first: int, floor: int, nonce: bytes) -> bytes:
        """Return a new segment's first bytes."""
        fields = (_MAGIC, VERSION, self.spool_id, number, first, floor, nonce)
        bound = _HEADER.pack(*fields, bytes(TAG_BYTES), 0)[: -TAG_BYTES - 4]
        tag = self._aead.encrypt(nonce, b"", bound)
        return _with_checksum(_HEADER.pack(*fields, tag, 0))

    def is_ours(self, data: bytes) -> bool:
        """Whether a segment's header was made under this key for this spool."""
        header = parse_header(data)
        if header is None or header.spool_id != self.spool_id:
            return False
        end = HEADER_BYTES - TAG_BYTES - 4
        return self._opens(data[end - NONCE_BYTES : end], data[end : end + TAG_BYTES], data[:end])

    def record(self, item: Waiting, payload: bytes, *, floor: int, nonce: bytes) -> bytes:
        """Return a case as a record; `nonce` is 12 bytes never used before under the key."""
        return self._seal(RecordKind.CASE, item, payload, floor, nonce)

    def floor_record(self, floor: int, *, nonce: bytes) -> bytes:
        """Return the record that says where the floor is."""
        return self._seal(RecordKind.FLOOR, Waiting(sequence=0, size=0, is_audit=False, value=0.0), b"", floor, nonce)

    def open(self, data: bytes, sequence: int) -> bytes | None:
        """Return the payload of a case's record, None when it is damaged, forged or another's."""
        head = parse_head(data)
        if head is None or head.sequence != sequence or len(data) != OVERHEAD_BYTES + head.size:
            return None
        bound = self.spool_id + data[: HEAD_BYTES - 8]
        nonce = data[HEAD_BYTES - 8 - NONCE_BYTES : HEAD_BYTES - 8]
        try:
            return self._aead.decrypt(nonce, data[HEAD_BYTES:], bound)
        except InvalidTag:
            return None

    def _seal(self, kind: RecordKind, item: Waiting, payload: bytes, floor: int, nonce: bytes) -> bytes:
        flags = _AUDIT if item.is_audit else 0
        fields = (_RECORD_MAGIC, kind, flags, item.size, item.sequence, floor, item.value, nonce)
        bound = self.spool_id + _HEAD.pack(*fields, 0, 0)[:-8]
        body = self._aead.encrypt(nonce, payload, bound)
        return _with_checksum(_HEAD.pack(*fields, zlib.crc32(body), 0)) + body

    def _opens(self, nonce: bytes, sealed: bytes, bound: bytes) -> bool:
        try:
            return self._aead.decrypt(nonce, sealed, bound) == b""
        except InvalidTag:
            return False


def parse_header(data: bytes) -> SegmentHeader | None:
    """Return what stands at the start of a segment, None when that is no header of this version."""
    if len(data) < HEADER_BYTES or not _checksum_holds(data[:HEADER_BYTES]):
        return None
    magic, version, spool_id, number, first, floor, _, _, _ = _HEADER.unpack(data[:HEADER_BYTES])
    if (magic, version) != (_MAGIC, VERSION):
        return None
    return SegmentHeader(spool_id=spool_id, number=number, first=first, floor=floor)


def parse_head(data: bytes | memoryview) -> Head | None:
    """Return what a record's head says, None when none stands there."""
    if len(data) < HEAD_BYTES or not _checksum_holds(data[:HEAD_BYTES]):
        return None
    magic, kind, flags, size, sequence, floor, value, _, _, _ = _HEAD.unpack(data[:HEAD_BYTES])
    if magic != _RECORD_MAGIC or kind not in set(RecordKind):
        return None
    return Head(kind=RecordKind(kind), is_audit=bool(flags & _AUDIT), size=size, sequence=sequence, floor=floor, value=value)


def scan(data: memoryview, start: int) -> Iterator[tuple[int, Head]]:
    """Find the records of a segment from an offset on, in order, as far as they stand one after another.

    Yields:
        Offset and head; a record whose body is torn or damaged is not whole.
    """
    at = max(start, HEADER_BYTES)
    while (head := parse_head(data[at : at + HEAD_BYTES])) is not None:
        body = data[at + HEAD_BYTES : at + OVERHEAD_BYTES + head.size]
        (expected,) = struct.unpack_from("<I", data, at + HEAD_BYTES - 8)
        is_whole = len(body) == head.size + TAG_BYTES and zlib.crc32(body) == expected
        yield at, head if is_whole else msgspec.structs.replace(head, is_whole=False)
        at += OVERHEAD_BYTES + head.size


def _with_checksum(data: bytes) -> bytes:
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))


def _checksum_holds(data: bytes | memoryview) -> bool:
    return zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little")
