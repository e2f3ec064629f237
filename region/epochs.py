"""The key epochs of the devices, kept in the vault file so that a restart of the region needs no new epoch.

Rules, in order:
1. An epoch's secret and the device's terms are wrapped by the vault key; its replay window is written with the cases it guards.
2. A device keeps its last two epochs; of older ones only the name stays, for longer than the key that opened them lives, so that an
   old `open` sent again is known and changes nothing.
"""

from __future__ import annotations

from region.liveepoch import Epoch, key_of
from region.vault import Vault
from shared.wire.epoch import AcceptedEpoch
from shared.wire.keys import KEY_BYTES
from shared.wire.messages import Terms, decode, encode

KEPT = 2
LONGEST_S = 48 * 3600.0
"""An epoch older than this is no longer used; devices open a new one every 24 hours."""
REMEMBERED_S = 10 * 86400.0


class EpochStore:
    """The epochs table.

    Args:
        vault: a started vault.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def digest(self, device: str, epoch_id: int) -> bytes | None:
        """Return the digest of the `open` that made this epoch, or None when it was never opened."""
        rows = self._vault.database.rows("SELECT digest FROM epochs WHERE device = ? AND epoch = ?", (device, key_of(epoch_id)))
        return rows[0][0] if rows else None

    def add(self, accepted: AcceptedEpoch, *, issuer: str, serial: str, now: float) -> None:
        """Keep a new epoch; forget the secrets of all but the device's last two.

        Raises:
            StorageError: not stored; the epoch must not be used.
        """
        device, key = accepted.peer.common_name, key_of(accepted.epoch_id)
        secret = self._vault.sealing.wrap(accepted.prk + encode(accepted.terms), device.encode() + key)
        with self._vault.database.transaction() as connection:
            connection.execute(
                "INSERT INTO epochs (device, epoch, opened_at, spool, suite, digest, issuer, serial, secret)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (device, key, now, accepted.spool_id, accepted.suite, accepted.digest, issuer, serial, secret),
            )
            connection.execute(
                "UPDATE epochs SET secret = NULL, window = NULL WHERE device = ? AND secret IS NOT NULL AND epoch NOT IN"
                " (SELECT epoch FROM epochs WHERE device = ? ORDER BY opened_at DESC LIMIT ?)",
                (device, device, KEPT),
            )
            connection.execute("DELETE FROM epochs WHERE opened_at < ?", (now - REMEMBERED_S,))

    def opened_with(self, certificates: frozenset[tuple[str, int]]) -> frozenset[str]:
        """Return the devices whose newest epoch was opened with one of these certificates (issuer, serial)."""
        rows = self._vault.database.rows("SELECT device, issuer, serial FROM epochs WHERE secret IS NOT NULL ORDER BY opened_at")
        newest = {device: (issuer, int(serial)) for device, issuer, serial in rows}
        return frozenset(device for device, certificate in newest.items() if certificate in certificates)

    def load(self, *, now: float, device: str = "") -> list[Epoch]:
        """Return every usable epoch, of one device if one is named, oldest first.

        Raises:
            StorageError: the table does not open under the vault key.
        """
        rows = self._vault.database.rows(
            "SELECT device, epoch, spool, suite, secret, window, issuer, serial FROM epochs"
            " WHERE secret IS NOT NULL AND opened_at > ? AND ? IN ('', device) ORDER BY opened_at",
            (now - LONGEST_S, device),
        )
        found = []
        for owner, key, spool, suite, secret, window, issuer, serial in rows:
            plain = self._vault.sealing.unwrap(secret, owner.encode() + key)
            found.append(
                Epoch(
                    device=owner, epoch_id=int.from_bytes(key, "big"), spool_id=spool, suite=suite, prk=plain[:KEY_BYTES],
                    window=window, issuer=issuer, serial=serial, terms=_terms(plain[KEY_BYTES:]),
                )
            )  # fmt: skip
        return found


def _terms(data: bytes) -> Terms:
    return decode(Terms, data) if data else Terms()  # an epoch stored before there were terms
