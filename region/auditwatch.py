"""Watches for devices that leave audit samples out: gathers what each process finds (omissions), keeps it, tells it once per device."""

from __future__ import annotations

import threading

from region.auditbook import AuditBook
from region.cases import Incoming
from region.liveepoch import LiveEpoch
from region.omissions import Omissions, Omitted, left_out
from shared import log
from shared.audit import AuditLog
from shared.wire.messages import Telemetry

EVERY_S = 10.0
LEFT_OUT = "device.audits_left_out"


class AuditWatch:
    """Told by an intake worker's thread; `once` is called every second.

    Args:
        book: where it is kept.
        audit: the region's audit log.
        region: who writes into it.
    """

    def __init__(self, book: AuditBook, audit: AuditLog, region: str) -> None:
        self._book, self._audit, self._region = book, audit, region
        self._omissions = Omissions()
        self._found: dict[str, Omitted] = {}
        self._known: frozenset[str] | None = None
        self._written_at = float("-inf")
        self._lock = threading.Lock()

    def stored(self, item: Incoming) -> None:
        """Note that a case is stored."""
        if item.case.is_audit:
            self._omissions.came(item.device, item.case.stream, item.case.frame)

    def told(self, message: Telemetry, epoch: LiveEpoch, *, now: float) -> None:
        """Take a device's telemetry; `now` in monotonic seconds."""
        found = self._omissions.told(epoch.device, message, epoch=epoch.epoch_id, key=epoch.audit_key, now=now)
        if found != Omitted():
            with self._lock:
                self._found[epoch.device] = self._found.get(epoch.device, Omitted()).plus(found)

    def once(self, *, now: float, at: float) -> None:
        """Keep what was found, and write down who leaves samples out; every ten seconds.

        Args:
            now: monotonic seconds.
            at: Unix seconds.

        Raises:
            StorageError: vault or audit log cannot be written; it is tried again.
        """
        if now - self._written_at < EVERY_S:
            return
        self._written_at = now
        if self._known is None:
            self._known = frozenset(self._guilty())
        with self._lock:
            found, self._found = self._found, {}
        if not found:
            return
        try:
            self._book.add(found)
        except Exception:  # whatever it was: what was found is kept for the next time, and the caller hears of it
            with self._lock:
                self._found = {name: one.plus(self._found.pop(name, Omitted())) for name, one in found.items()} | self._found
            raise
        guilty = self._guilty()
        for device in sorted(guilty.keys() - self._known):
            one = guilty[device]
            log.get("audit").warning(LEFT_OUT, device=device, drawn=one.drawn, missing=one.missing)
            detail = {"drawn": one.drawn, "missing": one.missing, "explained_by_drops": round(one.expected, 1)}
            self._audit.append(self._region, LEFT_OUT, device, detail, now=at)
        self._known = frozenset(guilty)

    def _guilty(self) -> dict[str, Omitted]:
        return {name: one for name, one in self._book.read().items() if left_out(missing=one.missing, expected=one.expected)}
