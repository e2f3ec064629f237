"""One key epoch of one device: as it is stored, and as it is used. Pure."""

from __future__ import annotations

import msgspec

from shared.wire.envelope import Opener
from shared.wire.keys import EpochKeys
from shared.wire.messages import Terms
from shared.wire.replay import ReplayWindow

CREDIT_WINDOW = 256
"""Envelopes a device may be ahead of what has been seen of its epoch."""


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """A stored epoch, with the device's terms.

    `prk` is its secret, `window` the stored replay window, issuer and serial name the certificate that opened it.
    """

    device: str
    epoch_id: int
    spool_id: bytes
    suite: int
    prk: bytes
    issuer: str
    serial: str
    window: bytes | None = None
    terms: Terms = Terms()

    def __repr__(self) -> str:
        return f"Epoch(device={self.device!r}, epoch_id={self.epoch_id:016x})"  # secrets never reach a log


class LiveEpoch:
    """An epoch in use: its opener, its replay window, and how far credit was given.

    Args:
        epoch: as stored.
    """

    def __init__(self, epoch: Epoch) -> None:
        self.device, self.epoch_id, self.spool_id = epoch.device, epoch.epoch_id, epoch.spool_id
        self.issuer, self.serial = epoch.issuer, epoch.serial
        self.window = ReplayWindow() if epoch.window is None else ReplayWindow.from_bytes(epoch.window)
        keys = EpochKeys.from_prk(epoch.prk)
        self.audit_key = keys.audit
        self.opener = Opener(keys, epoch=epoch.epoch_id, suite=epoch.suite)
        self.credit_given = 0

    @property
    def row(self) -> tuple[str, bytes]:
        """The key of its row in the vault."""
        return self.device, key_of(self.epoch_id)

    @property
    def credit(self) -> int:
        """Up to which counter the device may send cases now."""
        return self.window.highest + CREDIT_WINDOW


def key_of(epoch_id: int) -> bytes:
    """Return an epoch id as it stands in the tables (SQLite's integers are signed)."""
    return epoch_id.to_bytes(8, "big")
