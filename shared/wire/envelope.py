"""The sealed envelope: 28 bytes of header in clear, then the body under the epoch's key. Pure: bytes in, bytes out.

    header  version u8 | suite u8 | kind u8 | codec u8 | epoch u64 | counter u64 | sequence u64      (big-endian, associated data)
    body    index u16 | count u16 | chunk of the coded payload                                       (AEAD, 16-byte tag behind)

`sequence` is the case's sequence in the spool on the way up (0 for other messages) and the sender's instance on the way down.
A message costs 28 + 4 + 16 = 48 bytes. The codec byte's highest bit says that the chunk was filled up (wire.padding).

Rules, in order:
1. `parse_header` checks version, suite, kind and length before anybody looks anything up or memory is taken.
2. The nonce is four zero bytes and the counter. The sealer advances the counter at every seal, also when the same case is
   sent again, so a nonce is used once; after 2**32 seals the epoch is spent and the sealer refuses.
3. The suite is the epoch's; a header with another one is refused, and so is a kind of the other direction.
4. Opening says nothing about replay: ask a `ReplayWindow` with the opened header's counter.

Example:
    >>> keys = EpochKeys.from_prk(bytes(32))
    >>> sealed = Sealer(keys, epoch=7, suite=1).seal(Kind.CASE, b"picture", sequence=3)
    >>> Opener(keys, epoch=7, suite=1).open(sealed).payload
    b'picture'
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from shared.errors import ProtocolError
from shared.wire import padding
from shared.wire.chunks import CHUNK_BYTES
from shared.wire.keys import EpochKeys
from shared.wire.messages import Kind

VERSION = 1
LARGEST_ENVELOPE_BYTES = 64 << 10
"""What `parse_header` takes at most; chunks are 16 KB."""
SEALS_PER_EPOCH = 1 << 32
INSTANCES_PER_EPOCH = 256
"""Sending instances of the region one opener remembers within an epoch; forged headers must not fill memory."""

_HEADER = struct.Struct(">BBBBQQQ")
_PART = struct.Struct(">HH")
_TAG_BYTES = 16
HEADER_BYTES = _HEADER.size
OVERHEAD_BYTES = HEADER_BYTES + _PART.size + _TAG_BYTES
"""Bytes every message costs on top of its chunk."""
_FIRST_DOWN_KIND = 16
_KINDS = {int(kind): kind for kind in Kind}
_NONCE = struct.Struct(">IQ")


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The clear part of an envelope. It is authenticated only once the body has been opened."""

    version: int
    suite: int
    kind: Kind
    codec: int
    epoch: int
    counter: int
    sequence: int
    is_filled: bool = False


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """An authentic message: `payload` is chunk `index` of `count` of the coded payload (`header.codec`)."""

    header: Header
    index: int
    count: int
    payload: bytes


class Aead(Protocol):
    """What a suite is: authenticated encryption under one key with 12-byte nonces."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        """Return ciphertext and 16-byte tag."""

    def decrypt(self, nonce: bytes, data: memoryview, associated_data: bytes) -> bytes:
        """Return the plaintext.

        Raises:
            InvalidTag: key, nonce, data or associated data is not what was sealed.
        """


class Sm4Gcm:
    """SM4 in Galois/Counter mode (RFC 8998) under the first 16 bytes of the epoch's key. No SM2: not a GM/T key exchange."""

    def __init__(self, key: bytes) -> None:
        self._algorithm = algorithms.SM4(key[:16])

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        """Return ciphertext and 16-byte tag."""
        encryptor = Cipher(self._algorithm, modes.GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(associated_data)
        return encryptor.update(data) + encryptor.finalize() + encryptor.tag

    def decrypt(self, nonce: bytes, data: memoryview, associated_data: bytes) -> bytes:
        """Return the plaintext.

        Raises:
            InvalidTag: the message is not authentic.
        """
        if len(data) < _TAG_BYTES:
            raise InvalidTag
        decryptor = Cipher(self._algorithm, modes.GCM(nonce, bytes(data[-_TAG_BYTES:]))).decryptor()
        decryptor.authenticate_additional_data(associated_data)
        return decryptor.update(data[:-_TAG_BYTES]) + decryptor.finalize()


def _aes(key: bytes) -> Aead:
    return AESGCM(key)


def _chacha(key: bytes) -> Aead:
    return ChaCha20Poly1305(key)


SUITES: dict[int, Callable[[bytes], Aead]] = {1: _aes, 2: _chacha, 3: Sm4Gcm}
SUITE_NAMES = {1: "AES-256-GCM", 2: "ChaCha20-Poly1305", 3: "SM4-GCM"}


def parse_header(data: bytes) -> Header:
    """Read the clear header of an envelope, before anything is looked up.

    Raises:
        ProtocolError: too short, too long, another version, or a suite or kind nobody knows.
    """
    if not OVERHEAD_BYTES <= len(data) <= LARGEST_ENVELOPE_BYTES:
        raise ProtocolError(f"an envelope of {len(data)} bytes is outside {OVERHEAD_BYTES} to {LARGEST_ENVELOPE_BYTES}.")
    version, suite, kind, codec, epoch, counter, sequence = _HEADER.unpack_from(data)
    if version != VERSION:
        raise ProtocolError(f"envelope version {version} is not {VERSION}.", "Update the older side.")
    if suite not in SUITES:
        raise ProtocolError(f"cipher suite {suite} is unknown.")
    known = _KINDS.get(kind)
    if known is None:
        raise ProtocolError(f"message kind {kind} is unknown.")
    return Header(
        version=version,
        suite=suite,
        kind=known,
        codec=codec & ~padding.FLAG,
        epoch=epoch,
        counter=counter,
        sequence=sequence,
        is_filled=codec >= padding.FLAG,
    )


class Sealer:
    """Seals one sender's messages of one epoch. Not for several threads at once: the counter is the nonce.

    Args:
        keys: of the epoch.
        epoch: the epoch's id, a u64.
        suite: the epoch's suite, a key of `SUITES`.
        instance: None on the device; the sending instance (a random u64 per process start) in the region.
        is_padded: whether payloads are filled up to size classes.
    """

    def __init__(self, keys: EpochKeys, *, epoch: int, suite: int, instance: int | None = None, is_padded: bool = False) -> None:
        self._aead = SUITES[suite](keys.up if instance is None else keys.down(instance))
        self._epoch = epoch
        self._suite = suite
        self._instance = instance
        self._is_padded = is_padded
        self._counter = 0

    @property
    def counter(self) -> int:
        """The counter the next seal will use."""
        return self._counter

    def seal(self, kind: Kind, chunk: bytes, *, sequence: int = 0, index: int = 0, count: int = 1, codec: int = 0) -> bytes:
        """Seal one chunk and advance the counter.

        Args:
            kind: of the message; its direction must be the sealer's.
            chunk: part `index` of `count` of the coded payload.
            sequence: of the case; ignored on the way down, where the header carries the instance.
            index: of the chunk, from 0.
            count: chunks of this payload.
            codec: how the payload was coded (wire.compression).

        Returns:
            The envelope, `OVERHEAD_BYTES` longer than the chunk, and its filling.

        Raises:
            ProtocolError: the epoch is spent, or the kind goes the other way.
        """
        if self._counter >= SEALS_PER_EPOCH:
            raise ProtocolError(f"epoch {self._epoch:016x} is spent after {SEALS_PER_EPOCH} messages.", "Open a new epoch.")
        _check_direction(kind, from_region=self._instance is not None)
        number = sequence if self._instance is None else self._instance
        if self._is_padded and index + 1 == count:
            codec, chunk = codec | padding.FLAG, padding.fill(chunk, before=index * CHUNK_BYTES)
        header = _HEADER.pack(VERSION, self._suite, kind, codec, self._epoch, self._counter, number)
        nonce = _nonce(self._counter)
        self._counter += 1
        return header + self._aead.encrypt(nonce, _PART.pack(index, count) + chunk, header)


class Opener:
    """Opens the messages of one epoch and direction.

    Args:
        keys: of the epoch.
        epoch: the epoch's id.
        suite: the epoch's suite.
        from_region: True on the device, which opens what the region's instances sealed.
    """

    def __init__(self, keys: EpochKeys, *, epoch: int, suite: int, from_region: bool = False) -> None:
        self._keys = keys
        self._epoch = epoch
        self._suite = suite
        self._from_region = from_region
        self._up = None if from_region else SUITES[suite](keys.up)
        self._down: dict[int, Aead] = {}

    def open(self, data: bytes) -> Opened:
        """Open one envelope.

        Raises:
            ProtocolError: not an envelope, of another epoch, suite or direction, or not authentic.
        """
        header = parse_header(data)
        if header.epoch != self._epoch or header.suite != self._suite:
            raise ProtocolError(f"the envelope is of epoch {header.epoch:016x}, suite {header.suite}, not of the current epoch.")
        _check_direction(header.kind, from_region=self._from_region)
        aead = self._up or self._of_instance(header.sequence)
        try:
            body = aead.decrypt(_nonce(header.counter), memoryview(data)[HEADER_BYTES:], data[:HEADER_BYTES])
        except InvalidTag:
            raise ProtocolError("the envelope does not open under the epoch's key.") from None
        if not self._up and header.sequence not in self._down and len(self._down) < INSTANCES_PER_EPOCH:
            self._down[header.sequence] = aead  # remembered only once it has proved authentic
        index, count = _PART.unpack_from(body)
        if index >= count:
            raise ProtocolError(f"chunk {index} of {count} cannot be.")
        payload = body[_PART.size :]
        return Opened(header=header, index=index, count=count, payload=padding.strip(payload) if header.is_filled else payload)

    def _of_instance(self, instance: int) -> Aead:
        return self._down.get(instance) or SUITES[self._suite](self._keys.down(instance))


def _check_direction(kind: Kind, *, from_region: bool) -> None:
    if (kind >= _FIRST_DOWN_KIND) != from_region or kind is Kind.OPEN:
        raise ProtocolError(f"a message of kind {kind.name} does not travel in this envelope.")


def _nonce(counter: int) -> bytes:
    return _NONCE.pack(0, counter)
