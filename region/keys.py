"""The region's HPKE key pairs: the current one, the one before it for as long as devices may still use it, and their announcement.

Rules, in order:
1. A key is valid seven days. When less than 48 hours of that are left, or another key encapsulation is configured, the next one is
   made and announced; the old one opens epochs until its time is over and is then destroyed.
2. Serials rise and never fall, also when the vault is lost or an older one is put back: a serial is at least the Unix time at which its
   key was made, and more than the highest one, which is kept in a file beside the vault.
3. Private keys lie in the vault file, wrapped by the vault key.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence

import msgspec

from region.vault import Vault
from shared import log
from shared.link.serial import SerialFile
from shared.wire.announce import new_key, sign_announcement
from shared.wire.kem import X25519
from shared.wire.messages import SCHEMA, KeyAnnouncement

LIFETIME_S = 7 * 86400
OVERLAP_S = 48 * 3600
KEY_MADE, KEYS_DESTROYED = "region_key_made", "region_keys_destroyed"


class _Key(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table; `secret` is the wrapped private key."""

    id: str
    kem: str
    public: bytes
    secret: bytes
    not_before: int
    not_after: int
    serial: int


class KeyRing:
    """The keys of one region.

    Args:
        vault: a started vault.
        region: the region's name.
        sign: signs with the region's certificate key.
        chain: the region's certificates, DER, leaf first.
        kem: which key encapsulation new keys use.
        dictionaries: returns the digests of the dictionaries this region reads.
    """

    def __init__(
        self,
        vault: Vault,
        *,
        region: str,
        sign: Callable[[bytes], bytes],
        chain: Sequence[bytes],
        kem: str = X25519,
        dictionaries: Callable[[], tuple[bytes, ...]] = tuple,
    ) -> None:
        self._vault = vault
        self._region = region
        self._sign = sign
        self._chain = tuple(chain)
        self._kem = kem
        self._dictionaries = dictionaries
        self._highest = SerialFile(vault.serial_path)
        self._lock = threading.Lock()
        self._private: dict[str, bytes] = {}
        self._announced: tuple[str, tuple[bytes, ...]] = "", ()
        self._announcement = b""

    @property
    def private_keys(self) -> dict[str, bytes]:
        """The usable private keys by key id."""
        return self._private

    @property
    def announcement(self) -> bytes:
        """The signed announcement of the current key, as it travels; empty before the first `refresh`."""
        return self._announcement

    def refresh(self, now: float) -> bool:
        """Make, announce and destroy keys as the time demands.

        Args:
            now: Unix seconds.

        Returns:
            Whether there is a new announcement to publish.

        Raises:
            StorageError: the keys cannot be read or written.
        """
        with self._lock:
            self._destroy_expired(now)
            keys = self._keys()
            if not keys or keys[0].kem != self._kem or keys[0].not_after - now < OVERLAP_S:
                self._make(now, keys)
                keys = self._keys()
            self._private = self._opened(keys)
            said = keys[0].id, self._dictionaries()
            if said == self._announced:
                return False
            self._announcement, self._announced = self._signed(keys[0], dictionaries=said[1]), said
            return True

    def rotate(self, now: float, *, destroy_old: bool = False) -> int:
        """Make the next key before its time; the daemon announces it at its next `refresh`.

        Args:
            now: Unix seconds.
            destroy_old: destroy the others at once, since somebody else may know them.

        Returns:
            The new key's serial.

        Raises:
            StorageError: it cannot be written; nothing has changed.
        """
        with self._lock:
            keys = self._keys()
            self._make(now, keys)
            serial = self._keys()[0].serial
            if destroy_old:
                with self._vault.database.transaction() as connection:
                    gone = connection.execute("DELETE FROM keys WHERE serial < ?", (serial,)).rowcount
                log.get("keys").info(KEYS_DESTROYED, keys=gone)
            return serial

    def read(self) -> None:
        """Take over the keys as they are, for a process beside the daemon, which alone makes and destroys them.

        Raises:
            StorageError: the keys cannot be read.
        """
        with self._lock:
            self._private = self._opened(self._keys())

    def _opened(self, keys: Sequence[_Key]) -> dict[str, bytes]:
        return {key.id: self._vault.sealing.unwrap(key.secret, key.id.encode()) for key in keys}

    def _keys(self) -> list[_Key]:
        names = _Key.__struct_fields__
        rows = self._vault.database.rows("SELECT id, kem, public, secret, not_before, not_after, serial FROM keys ORDER BY serial DESC")
        return [_Key(**dict(zip(names, row, strict=True))) for row in rows]

    def _make(self, now: float, keys: Sequence[_Key]) -> None:
        private, public = new_key(self._kem)
        name, start = secrets.token_hex(8), int(now)
        serial = max(start, self._highest.read() + 1, keys[0].serial + 1 if keys else 0)
        self._highest.write(serial)
        with self._vault.database.transaction() as connection:
            connection.execute(
                "INSERT INTO keys (id, kem, public, secret, not_before, not_after, serial) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (name, self._kem, public, self._vault.sealing.wrap(private, name.encode()), start, start + LIFETIME_S, serial),
            )
        log.get("keys").info(KEY_MADE, key=name, serial=serial)

    def _destroy_expired(self, now: float) -> None:
        if self._vault.database.rows("SELECT count(*) FROM keys WHERE not_after < ?", (now,))[0][0]:
            with self._vault.database.transaction() as connection:
                gone = connection.execute("DELETE FROM keys WHERE not_after < ?", (now,)).rowcount
            log.get("keys").info(KEYS_DESTROYED, keys=gone)

    def _signed(self, key: _Key, *, dictionaries: tuple[bytes, ...]) -> bytes:
        announcement = KeyAnnouncement(
            region=self._region,
            vault_id=self._vault.vault_id,
            key_id=key.id,
            kem=key.kem,
            public=key.public,
            not_before=key.not_before,
            not_after=key.not_after,
            serial=key.serial,
            schema=SCHEMA,
            dictionaries=dictionaries,
        )
        return sign_announcement(announcement, self._sign, self._chain)
