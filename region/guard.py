"""The guard at intake: counts every device's messages against its limits, keeps flooders out, and writes refusals into the audit log.

Rules, in order:
1. A message beyond its device's limits is dropped before it is looked at (limits.py says how far is how far).
2. A flooder is dropped from that message on. Within a second it stands in the quarantine, from which broker and intake deny it (revocation,
   upkeep) and its connection is closed.
3. A device leaves the quarantine when its time is over or an operator releases it, and then begins anew.
4. What is written down is written here, once a second, never in the way of messages: a kill loses at most the last second's refusals.

One guard for each process that takes messages; quarantine and audit log are shared through their files.
"""

from __future__ import annotations

import threading

from region.config import LimitSettings
from region.incidents import Incidents
from region.limits import Limits, Rates, Verdict
from region.quarantine import Quarantine
from shared import log
from shared.audit import AuditLog
from shared.errors import TerraceError

QUARANTINED, RELEASED, REFUSED = "device.quarantined", "device.released", "device.refused"
OVER_LIMIT, KEPT_OUT = "over_limit", "quarantined"
TOO_MUCH, TOO_MANY_REFUSED = "it sent more than its limits allow", "too many of its messages were refused"


class Guard:
    """Asked by the threads that take messages; `once` is called every second.

    Args:
        settings: the limits.
        quarantine: where flooders are kept.
        audit: the region's audit log.
        region: who writes into it.
    """

    def __init__(self, settings: LimitSettings, *, quarantine: Quarantine, audit: AuditLog, region: str) -> None:
        self._settings = settings
        self._quarantine, self._audit, self._region = quarantine, audit, region
        self._limits = Limits(
            Rates(
                messages_per_s=settings.messages_per_s,
                bytes_per_s=settings.bytes_per_s,
                refused_per_s=settings.refused_per_s,
                patience_s=settings.patience_s,
            )
        )
        self._incidents = Incidents()
        self._flooders: dict[str, str] = {}
        self._kept_out: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    def admits(self, device: str, size: int, *, now: float) -> str:
        """Count a message and return why it is dropped, "" when it is not; `now` in monotonic seconds."""
        if device in self._kept_out:
            return KEPT_OUT
        with self._lock:
            if device in self._flooders:
                return KEPT_OUT
            verdict = self._limits.of(device).arrived(size, now=now)
            if verdict is Verdict.FLOOD:
                self._flooders[device] = TOO_MUCH
        return OVER_LIMIT if verdict >= Verdict.DROP else ""

    def is_slowed(self, device: str, *, now: float) -> bool:
        """Whether a device gets no new credit for the time being."""
        with self._lock:
            return self._limits.of(device).look(now=now) is not Verdict.PASS

    def refused(self, device: str, reason: str, *, now: float) -> None:
        """Note that a message of a device was refused."""
        with self._lock:
            self._incidents.note(device, reason, now=now)
            if self._limits.of(device).refused(now=now) is Verdict.FLOOD:
                self._flooders.setdefault(device, TOO_MANY_REFUSED)

    def once(self, *, now: float, at: float) -> None:
        """Put flooders into the quarantine, let go those whose time is over, write down what was refused.

        Args:
            now: monotonic seconds.
            at: Unix seconds.

        Raises:
            TerraceError: a file cannot be written; what was to be written is kept for the next time.
        """
        for device, reason in dict(self._flooders).items():
            self._shut_out(device, reason, at=at)
        kept = self._quarantine.read()
        for device in [device for device, entry in kept.items() if entry.until <= at]:
            if self._quarantine.release(device):
                self._audit.append(self._region, RELEASED, device, {"why": "its time is over"}, now=at)
            del kept[device]
        self._kept_out = frozenset(kept)
        self._write_refusals(now=now, at=at)

    def _shut_out(self, device: str, reason: str, *, at: float) -> None:
        for_s = self._settings.quarantine_s
        self._quarantine.add(device, reason, now=at, until=at + for_s)
        self._audit.append(self._region, QUARANTINED, device, {"reason": reason, "for_s": for_s}, now=at)
        log.get("guard").warning(QUARANTINED, device=device, reason=reason, for_s=for_s)
        with self._lock:
            self._kept_out |= {device}
            self._flooders.pop(device, None)
            self._limits.forget(device)

    def _write_refusals(self, *, now: float, at: float) -> None:
        with self._lock:
            due = self._incidents.due(now=now)
        while due:
            one = due[0]
            try:
                self._audit.append(self._region, REFUSED, one.device, {"reason": one.reason, "messages": one.count}, now=at)
            except TerraceError:
                with self._lock:
                    self._incidents.put_back(due)
                raise
            due.pop(0)
