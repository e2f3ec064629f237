"""Who is not listened to any more: devices revoked here by name, and certificates on the device authority's lists.

The names stand in `<state>/revoked.json`, written by `terrace region revoke`, read again by the daemon when it changes. The lists
(`devices.crl.pem` in the identity folder) come from provisioning.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from shared import durable, log
from shared.errors import IdentityError, StorageError
from shared.identity.crl import Revocations
from shared.identity.store import Identity

DUE_SOON_S = 7 * 86400.0
LISTS_CHANGED, LISTS_DUE, LISTS_UNREADABLE = "revocations_changed", "revocation_list_due_soon", "revocation_list_unreadable"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One revoked device: since when (Unix seconds) and why."""

    at: float
    reason: str = ""


class RevocationList:
    """The names and the certificates, as last read.

    Args:
        path: revoked.json.
        identity: the region's, in whose folder the lists lie.
    """

    def __init__(self, path: Path, identity: Identity) -> None:
        self._path = path
        self._identity = identity
        self._seen: tuple[float, ...] = ()
        self._names: frozenset[str] = frozenset()
        self._lists = Revocations()
        self._logger = log.get("revocation")

    @property
    def names(self) -> frozenset[str]:
        """Devices revoked by name."""
        return self._names

    @property
    def lists(self) -> Revocations:
        """The certificate revocation lists."""
        return self._lists

    def denies(self, device: str) -> bool:
        """Whether a device was revoked by name."""
        return device in self._names

    def covers(self, issuer: str, serial: str) -> bool:
        """Whether a certificate is on a revocation list."""
        return bool(self._lists.entries) and (issuer, int(serial)) in self._lists.entries

    def refresh(self) -> bool:
        """Read again what changed on disk; returns whether anything did. A damaged list leaves the last good one in force."""
        seen = tuple(path.stat().st_mtime if path.exists() else 0.0 for path in (self._path, self._identity.crl_path))
        if seen == self._seen:
            return False
        is_first, self._seen, before = not self._seen, seen, self._names
        try:
            self._names = frozenset(read_revoked(self._path))
            self._lists = self._identity.revocations()
        except (IdentityError, StorageError) as error:
            if is_first:
                raise
            self._logger.warning(LISTS_UNREADABLE, error=str(error))
            return self._names != before  # a damaged list does not hold up a device that was revoked by name
        if self._lists.next_update - time.time() < DUE_SOON_S:
            self._logger.warning(LISTS_DUE, next_update=self._lists.next_update)
        self._logger.info(LISTS_CHANGED, devices=len(self._names), certificates=len(self._lists.entries))
        return True


def read_revoked(path: Path) -> dict[str, Entry]:
    """Return the devices revoked by name.

    Raises:
        StorageError: the file is damaged.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Entry])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        raise StorageError(f"the list of revoked devices {path} cannot be read: {error}.", "Correct or remove it.") from error


def write_revoked(path: Path, entries: dict[str, Entry]) -> None:
    """Replace the list of revoked devices.

    Raises:
        StorageError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    durable.write(path, msgspec.json.format(msgspec.json.encode(entries), indent=1), mode=0o600)
