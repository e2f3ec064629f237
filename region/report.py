"""What the region says of itself: the status of the status socket and the metrics, and what keeps it from being ready."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec

from region import liverisk
from region.agreement import Agreement
from region.auditbook import AuditBook
from region.batcher import Backlog
from region.external import AnyBroker
from region.figures import Figures
from region.fleet import RECENTLY_S, Fleet
from region.labelling import Labels
from region.omissions import Omitted, left_out
from region.pool import IntakePool
from region.revocation import RevocationList
from region.summary import is_guest
from region.vault import Vault
from region.worker import ExpertWorker
from shared import clock
from shared.errors import StorageError
from shared.headsigner import HeadSigner
from shared.wire.reports import DriftState


class Report:
    """Reads figures off the parts; keeps nothing.

    Args:
        name: the region's.
        vault: for stored and answered cases.
        broker: for its process and restarts.
        expert: for release and backlog.
        backlog: for what was put off.
        figures: counts.
        fleet: the devices.
        revocations: who is revoked.
        intake: the intake workers.
        agreement: for live agreement and drift.
        heads: for the newest signed head of the audit log.
        certificate_ends: when the region's certificate expires, Unix seconds.
        people_url: the page for people, empty when there is none.
    """

    def __init__(
        self,
        name: str,
        *,
        vault: Vault,
        broker: AnyBroker,
        expert: ExpertWorker,
        backlog: Backlog,
        figures: Figures,
        fleet: Fleet,
        revocations: RevocationList,
        intake: IntakePool,
        agreement: Agreement,
        heads: HeadSigner,
        certificate_ends: float,
        people_url: str = "",
    ) -> None:
        self._name = name
        self._vault, self._broker, self._expert, self._backlog = vault, broker, expert, backlog
        self._figures, self._fleet, self._revocations = figures, fleet, revocations
        self._intake = intake
        self._agreement = agreement
        self._heads = heads
        self._certificate_ends = certificate_ends
        self._people_url = people_url

    def status(self) -> dict[str, Any]:
        """Return the status as plain JSON values."""
        figures = self._figures
        return {
            "name": self._name,
            "vault_id": self._vault.vault_id,
            **self._stored(),
            "vault_bytes": self._vault.held_bytes,
            "cases_waiting": self._expert.waiting,
            "expert_release": self._expert.release,
            "answer_ms_p50": figures.latency_ms(0.5),
            "answer_ms_p99": figures.latency_ms(0.99),
            "messages": figures.messages,
            "cases_duplicate": figures.cases_duplicate,
            "receipts": figures.receipts,
            "replies": figures.replies,
            "replies_unsent": figures.replies_unsent,
            "epochs_opened": figures.epochs_opened,
            "answers_late": figures.answers_late,
            "batches": figures.batches,
            "shed": self._backlog.shed,
            "expert_failures": figures.expert_failures,
            "storage_failures": figures.storage_failures,
            "dropped": dict(figures.dropped),
            **self._agreed(),
            "revoked": sorted(self._revocations.names),
            "quarantined": {name: msgspec.to_builtins(entry) for name, entry in self._revocations.quarantined.items()},
            "audit_head": msgspec.to_builtins(self._heads.newest),
            "revocation_list_days_left": _days_until(self._revocations.lists.next_update),
            "certificate_days_left": _days_until(self._certificate_ends),
            "broker_restarts": self._broker.restarts,
            "broker_up": self._broker.is_up,
            "workers": self._intake.status(),
            "people_url": self._people_url,
            "memory_mb": memory_mb(),
        }

    def live(self) -> dict[str, Any]:
        """Return what the page for people shows of the devices' live risk."""
        now, lives = clock.wall(), self._fleet.lives()
        connected = self._connected(now)
        own = {name: live for name, live in lives.items() if not is_guest(name, self._name)}
        return liverisk.shown(own, liverisk.of_region(own, connected=connected, now=now), connected=connected)

    def problems(self) -> list[str]:
        """Return what keeps the region from receiving and receipting cases; empty when it is ready."""
        found = [] if self._broker.is_up else ["the broker is down"]
        found += [] if self._intake.is_storing else ["the vault cannot be written"]
        is_late = self._revocations.lists.next_update < clock.wall()
        found += ["the revocation list has expired: the broker refuses every device"] if is_late else []
        return found

    def _agreed(self) -> dict[str, Any]:
        try:
            drift, audits, omitted = self._agreement.drift(), self._agreement.audits(), AuditBook(self._vault.database).read()
        except StorageError:
            drift, audits, omitted = DriftState(), {}, {}
        now = clock.wall()
        devices, lives = self._fleet.summary(now=now), self._fleet.lives()
        for name, entry in devices.items():
            entry["live"] = msgspec.to_builtins(lives.get(name))
            entry["audits"] = msgspec.to_builtins(audits.get(name, ()))
            one = omitted.get(name, Omitted())
            entry["omissions"] = {**msgspec.structs.asdict(one), "left_out": left_out(missing=one.missing, expected=one.expected)}
        own = {name: live for name, live in lives.items() if not is_guest(name, self._name)}
        live = liverisk.of_region(own, connected=self._connected(now), now=now)
        return {"drift": msgspec.to_builtins(drift), "live": msgspec.to_builtins(live), "devices": devices}

    def _connected(self, now: float) -> set[str]:
        return {name for name, at in self._fleet.heard_at().items() if now - at <= RECENTLY_S and not is_guest(name, self._name)}

    def _stored(self) -> dict[str, int]:
        try:
            counters = self._vault.counters()
            parts = self._vault.parts()
            labels = Labels(self._vault.database).counts()
        except StorageError:
            counters, parts, labels = {}, {}, {}
        return {
            "cases_stored": counters.get("new", 0),
            "cases_answered": counters.get("answered", 0),
            "cases_train": parts.get("train", 0),
            "cases_evaluation": parts.get("evaluation", 0),
            "cases_elsewhere": parts.get("elsewhere", 0),
            "cases_human": labels.get("human", 0),
            "cases_generated": labels.get("generated", 0),
        }


def _days_until(moment: float) -> float | None:
    days = (moment - clock.wall()) / 86400
    return round(days, 2) if math.isfinite(days) else None


def memory_mb() -> float:
    """Return this process's resident memory in 10^6 bytes; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    kilobytes = next((line.split()[1] for line in lines if line.startswith("VmRSS")), "0")
    return round(int(kilobytes) * 1024 / 1e6, 1)
