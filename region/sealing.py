"""Cases at rest: each under its own AES-256-GCM data key, which is wrapped by the vault key. Pure: bytes in, bytes out.

The case's random id is bound to both as associated data, so that rows cannot be exchanged. Erasing a case is forgetting its
wrapped key. Random bytes are an argument.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import StorageError

KEY_BYTES, NONCE_BYTES = 32, 12
_BODY_NONCE = bytes(NONCE_BYTES)
"""A data key seals exactly one body, so its nonce may be constant."""


class Sealing:
    """The vault key at work.

    Args:
        key: 32 bytes.
        random: returns that many random bytes.
    """

    def __init__(self, key: bytes, random: Callable[[int], bytes]) -> None:
        self._key = AESGCM(key)
        self._random = random

    def wrap(self, secret: bytes, name: bytes) -> bytes:
        """Return a small secret sealed under the vault key itself, bound to `name`: nonce, ciphertext, tag."""
        nonce = self._random(NONCE_BYTES)
        return nonce + self._key.encrypt(nonce, secret, name)

    def unwrap(self, wrapped: bytes, name: bytes) -> bytes:
        """Return what `wrap` sealed.

        Raises:
            StorageError: another vault key, another name, or changed bytes.
        """
        try:
            return self._key.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], name)
        except (InvalidTag, ValueError):
            raise StorageError("a row of the vault does not open with this key.", "Put back the key file that belongs to it.") from None

    def seal(self, payload: bytes, name: bytes) -> tuple[bytes, bytes]:
        """Return (wrapped data key, sealed payload) under a fresh data key."""
        data_key = self._random(KEY_BYTES)
        return self.wrap(data_key, name), AESGCM(data_key).encrypt(_BODY_NONCE, payload, name)

    def open(self, wrapped: bytes, sealed: bytes, name: bytes) -> bytes:
        """Return what `seal` sealed.

        Raises:
            StorageError: another vault key, another name, or changed bytes.
        """
        data_key = self.unwrap(wrapped, name)
        try:
            return AESGCM(data_key).decrypt(_BODY_NONCE, sealed, name)
        except InvalidTag:
            raise StorageError("a case in the vault was changed.", "Restore the vault from a backup.") from None
