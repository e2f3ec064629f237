"""Who is not listened to any more: devices revoked here by name, and certificates on the device authority's lists.

The names stand in `<state>/revoked.json`, written by `terrace region revoke`, and in the quarantine, written by the guard; both are read
again when they change. The lists (`devices.crl.pem` in the identity folder) come from provisioning.
"""

from __future__ import annotations

import time
from pathlib import Path

from region.guests import GuestLists, Guests
from region.quarantine import Quarantine, Quarantined
from shared import log
from shared.errors import IdentityError, StorageError
from shared.identity.crl import Revocations
from shared.identity.denied import read_revoked
from shared.identity.names import Peer
from shared.identity.store import Identity

DUE_SOON_S = 7 * 86400.0
LISTS_CHANGED, LISTS_DUE, LISTS_UNREADABLE = "revocations_changed", "revocation_list_due_soon", "revocation_list_unreadable"


class RevocationList:
    """The names and the certificates, as last read.

    Args:
        path: revoked.json.
        identity: the region's, in whose folder the lists lie.
        quarantine: devices kept out for a while; None where there is none.
        guests: the lists of other regions whose devices may come here.
    """

    def __init__(self, path: Path, identity: Identity, quarantine: Quarantine | None = None, guests: Guests | None = None) -> None:
        self._path = path
        self._identity = identity
        self._quarantine = quarantine
        self._quarantined: dict[str, Quarantined] = {}
        self._guests = guests or Guests((), identity)
        self._guest_lists = GuestLists()
        self._seen: tuple[float, ...] = ()
        self._names: frozenset[str] = frozenset()
        self._lists = Revocations()
        self._pem = b""
        self._logger = log.get("revocation")

    @property
    def names(self) -> frozenset[str]:
        """Devices revoked by name."""
        return self._names

    @property
    def quarantined(self) -> dict[str, Quarantined]:
        """Devices kept out for a while, by name."""
        return self._quarantined

    @property
    def denied(self) -> frozenset[str]:
        """Everybody who is not listened to: revoked by name or kept out for a while."""
        return self._names | self._quarantined.keys()

    @property
    def lists(self) -> Revocations:
        """The certificate revocation lists."""
        return self._lists

    @property
    def pem(self) -> bytes:
        """The revocation lists as they were when they were last good, for the broker."""
        return self._pem

    def denies(self, device: str) -> bool:
        """Whether a device was revoked by name, or is kept out for a while."""
        return device in self._names or device in self._quarantined

    def covers(self, issuer: str, serial: str) -> bool:
        """Whether a certificate is on a revocation list."""
        return (issuer, int(serial)) in self._lists.entries or self._guest_lists.covers(issuer, int(serial))

    def admits(self, peer: Peer) -> bool:
        """Whether a device may come in: not revoked, and of this region or of one whose devices are let in."""
        if self.denies(peer.common_name) or self._lists.covers(peer):
            return False
        return peer.region == self._identity.peer.region or self._guest_lists.admits(peer, now=time.time())

    def refresh(self) -> bool:
        """Read again what changed on disk; returns whether anything did. A damaged list leaves the last good one in force."""
        seen = tuple(path.stat().st_mtime if path.exists() else 0.0 for path in (self._path, self._identity.crl_path, *self._guests.files))
        seen += (self._quarantine.stamp if self._quarantine else 0,)
        if seen == self._seen:
            return False
        is_first, self._seen, before = not self._seen, seen, self.denied
        self._quarantined = self._quarantine.read() if self._quarantine else {}
        try:
            self._names = frozenset(read_revoked(self._path))
            pem = self._identity.revocation_lists()
            lists, guests = self._identity.revocations(pem), self._guests.read()
            self._lists, self._guest_lists, self._pem = lists, guests, pem + guests.pem
        except (IdentityError, StorageError) as error:
            if is_first:
                raise
            self._logger.warning(LISTS_UNREADABLE, error=str(error))
            return self.denied != before  # a damaged list does not hold up a device that was revoked by name
        if self._lists.next_update - time.time() < DUE_SOON_S:
            self._logger.warning(LISTS_DUE, next_update=self._lists.next_update)
        self._logger.info(LISTS_CHANGED, devices=len(self._names), certificates=len(self._lists.entries))
        return True
