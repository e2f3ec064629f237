"""What a region does every second: devices denied, keys renewed, the vault kept within its bounds, devices told of an alarm."""

from __future__ import annotations

import threading

from region.agreement import Agreement
from region.auditwatch import AuditWatch
from region.config import VaultSettings
from region.epochs import EpochStore
from region.external import AnyBroker
from region.fleet import Fleet
from region.guard import Guard
from region.keys import KeyRing
from region.kicker import Kicker
from region.lexicon import Lexicon
from region.orders import AUDIT_SHARE, Orders
from region.outlet import Outlet
from region.replies import Replies
from region.revocation import RevocationList
from region.vault import Vault
from shared import clock, log
from shared.errors import TerraceError
from shared.headsigner import HeadSigner

EVERY_S, DAY_S = 1.0, 86_400.0
UPKEEP_FAILED = "upkeep_failed"


class Upkeep:
    """The thread.

    Args:
        vault: kept within `limits`.
        limits: capacity and age.
        keys: refreshed; a new announcement is published.
        revocations: read again; the broker and the replies are told.
        guard: quarantines flooders, writes down what was refused.
        audits: keeps what was found of audit samples that are left out.
        heads: signs where the audit log ends.
        kicker: closes the connections of devices that are not listened to any more.
        broker: gets the access list and reads its files again.
        replies: fall silent towards revoked devices.
        outlet: announces keys.
        epochs: says with which certificate each device speaks.
        agreement: says whether there is a drift alarm.
        fleet: says which devices are here.
        alarm_share: share of frames devices are to draw for audit during an alarm.
        lexicon: takes over new dictionaries, and keeps what they are learned from.
    """

    def __init__(
        self,
        *,
        vault: Vault,
        limits: VaultSettings,
        keys: KeyRing,
        revocations: RevocationList,
        guard: Guard,
        audits: AuditWatch,
        heads: HeadSigner,
        kicker: Kicker,
        broker: AnyBroker,
        replies: Replies,
        outlet: Outlet,
        epochs: EpochStore,
        agreement: Agreement,
        fleet: Fleet,
        alarm_share: float,
        lexicon: Lexicon,
    ) -> None:
        self._vault, self._limits = vault, limits
        self._keys, self._revocations = keys, revocations
        self._audits = audits
        self._guard, self._heads, self._kicker, self._epochs = guard, heads, kicker, epochs
        self._denied: frozenset[str] = frozenset()
        self._broker, self._replies, self._outlet = broker, replies, outlet
        self._agreement, self._fleet, self._alarm_share = agreement, fleet, alarm_share
        self._lexicon = lexicon
        self._orders = Orders()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()

    def once(self) -> None:
        """Do everything that is due now.

        Raises:
            TerraceError: of the first duty that failed.
        """
        self._deny()
        self._guard.once(now=clock.monotonic(), at=clock.wall())
        self._heads.once(at=clock.wall())
        self._audits.once(now=clock.monotonic(), at=clock.wall())
        self._broker.renew()
        self._lexicon.tick()
        if self._keys.refresh(clock.wall()):
            self._outlet.announce_key()
        limits = self._limits
        self._vault.retain(
            capacity_bytes=limits.capacity_mb * 1_000_000,
            max_age_s=limits.max_age_days * DAY_S,
            human_max_age_s=limits.human_max_age_days * DAY_S,
            now=clock.wall(),
        )
        self._give_orders(clock.wall())

    def _deny(self) -> None:
        """Let broker and replies know who is not listened to, and close the connections of those who are new among them.

        Who was denied by name is kept silent by the access list; whose certificate was revoked does not get in again without a new one.
        """
        if self._revocations.refresh():
            self._broker.revoke(self._revocations.denied, crl=self._revocations.pem)
        certificates = self._revocations.lists.entries
        denied = self._revocations.denied | (self._epochs.opened_with(certificates) if certificates else frozenset())
        if denied != self._denied:
            self._replies.deny(denied)
            if self._broker.is_up:
                self._kicker.also(denied - self._denied)
            self._denied = denied
        if self._broker.is_up:
            self._kicker.once(self._revocations.quarantined, now=clock.monotonic())

    def _give_orders(self, now: float) -> None:
        argument = f"{self._alarm_share:g}" if self._agreement.watch().alarm else ""
        for device in self._orders.due(self._fleet.heard_at(), argument, now=now):
            if self._replies.command(device, AUDIT_SHARE, argument):
                self._orders.told(device, argument, now=now)

    def _run(self) -> None:
        logger = log.get("upkeep")
        said = ""
        while not self._stopping.wait(EVERY_S):
            try:
                self.once()
                said = ""
            except TerraceError as error:
                if str(error) != said:  # once per trouble, not once a second
                    logger.warning(UPKEEP_FAILED, error=str(error))
                said = str(error)
