"""An intake worker as a process of its own: `python -m region.worker_main --config region.toml --worker intake-1`, started by the daemon.

Parts, in the order they start: vault (as a guest) → keys and revocations → intake with its connection → line to the daemon, which says
which shards to serve. What it stores lies in the same vault; the expert, the answers and all figures are the daemon's.
"""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

from region.auditbook import AuditBook
from region.auditwatch import AuditWatch
from region.config import RegionSettings
from region.daemonline import DaemonLine
from region.epochs import EpochStore
from region.figures import Figures
from region.guard import Guard
from region.guests import Guests
from region.intakeparts import Intake, Surroundings
from region.keys import KeyRing
from region.newsdesk import NewsDesk
from region.outlet import Outlet
from region.quarantine import Quarantine
from region.replies import Replies
from region.revocation import RevocationList
from region.vault import Vault
from region.workernews import News
from shared import clock, lifecycle, log
from shared.audit import AuditLog
from shared.config import load
from shared.errors import TerraceError
from shared.identity.store import Identity
from shared.lifecycle import Part
from shared.link.dictionaries import DictionaryFolder
from shared.wire.epoch import AcceptedEpoch


class ToldEpochs(EpochStore):
    """The epochs of the vault; each new one is told to the daemon.

    Args:
        vault: a started vault.
        desk: takes the news.
    """

    def __init__(self, vault: Vault, desk: NewsDesk) -> None:
        super().__init__(vault)
        self._desk = desk

    def add(self, accepted: AcceptedEpoch, *, issuer: str, serial: str, now: float) -> None:
        """As `EpochStore.add`."""
        super().add(accepted, issuer=issuer, serial=serial, now=now)
        self._desk.opened(accepted.peer.common_name, accepted.epoch_id)


class WorkerProcess:
    """The parts of one intake worker.

    Args:
        settings: region.toml.
        name: the worker's, and its identity folder's.
        stopped: set when the daemon is gone.
    """

    def __init__(self, settings: RegionSettings, name: str, stopped: threading.Event) -> None:
        self._settings, self._name, self._stopped = settings, name, stopped
        self._server = Identity.load(settings.identity.folder)
        self._identity = Identity.load(settings.identity.workers / name)
        self._identity.check(clock.wall())
        self._figures = Figures()
        self._desk = NewsDesk(self._figures)
        self._vault = Vault(settings.vault_path, joins=True)
        self._keys = KeyRing(self._vault, region=settings.name, sign=self._server.sign, chain=self._server.chain)
        quarantine = Quarantine(settings.quarantine_path)
        self._revocations = RevocationList(settings.revoked_path, self._server, quarantine, Guests(settings.fail_over_for, self._server))
        audit = AuditLog(settings.audit_path)
        self._guard = Guard(settings.limits, quarantine=quarantine, audit=audit, region=settings.name)
        self._audits = AuditWatch(AuditBook(self._vault.database), audit, settings.name)
        outlet = Outlet(lambda: b"")  # what is said to all is the daemon's to say
        self._dictionaries = DictionaryFolder(settings.state / "dictionaries")
        self._replies = Replies(outlet.publish, self._figures, self._dictionaries.shelf)
        self._intake = Intake(self._identity, self._around())
        outlet.attach(self._intake.client)

    def parts(self) -> list[Part]:
        """Return every part in the order it starts."""
        line = DaemonLine(
            self._settings.intake_path,
            self._name,
            desk=self._desk,
            news=self._news,
            own=self._intake.own,
            every_second=self._refresh,
            lost=self._stopped.set,
        )
        return [self._vault, line, self._intake]

    def _around(self) -> Surroundings:
        return Surroundings(
            settings=self._settings,
            server=self._server,
            revocations=self._revocations,
            vault=self._vault,
            epochs=ToldEpochs(self._vault, self._desk),
            keys=self._keys,
            replies=self._replies,
            dictionaries=self._dictionaries,
            fleet=self._desk,
            figures=self._figures,
            guard=self._guard,
            audits=self._audits,
            submit=self._desk.submit,
        )

    def _refresh(self) -> None:
        """Read revocations, keys and dictionaries again, which the daemon alone changes; keep out flooders."""
        if self._revocations.refresh():
            self._replies.deny(self._revocations.denied)
        self._keys.read()
        self._guard.once(now=clock.monotonic(), at=clock.wall())
        self._audits.once(now=clock.monotonic(), at=clock.wall())
        self._dictionaries.refresh()

    def _news(self) -> News:
        return self._desk.take(held_bytes=self._vault.held_bytes, is_storing=self._intake.worker.is_storing)


def main() -> int:
    """Run until SIGTERM, or until the daemon is gone; returns the exit code."""
    parser = argparse.ArgumentParser(prog="region.worker_main", description="An intake worker process of a region.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--worker", required=True)
    chosen = parser.parse_args()
    lifecycle.die_with_parent()
    log.configure(level="info")
    stopped = threading.Event()
    try:
        settings = load(chosen.config, RegionSettings)
        lifecycle.run(WorkerProcess(settings, chosen.worker, stopped).parts(), name=chosen.worker, stopped=stopped)
    except TerraceError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
