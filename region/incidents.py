"""Which refusals are written into the audit log, and how often: a flood of them must not become a flood of entries. Pure.

Rules, in order:
1. Only reasons that say something about who speaks are written down (`NOTED`); others are counted only.
2. The first of a device and reason is due at once; after that one entry per `AGAIN_S` with how many there were.
3. At most `MOST` pairs are told apart; of more, all are "others".

Example:
    >>> incidents = Incidents()
    >>> for _ in range(3):
    ...     incidents.note("edge-1.region-1", "not_authentic", now=0.0)
    >>> [(one.device, one.reason, one.count) for one in incidents.due(now=0.0)]
    [('edge-1.region-1', 'not_authentic', 3)]
    >>> incidents.note("edge-1.region-1", "not_authentic", now=1.0)
    >>> incidents.due(now=2.0), len(incidents.due(now=700.0))
    ([], 1)
"""

from __future__ import annotations

import msgspec

NOTED = frozenset({
    "conflict", "epoch_used", "header", "not_authentic", "open_identity", "open_protocol", "payload", "replay", "revoked", "topic",
})  # fmt: skip
"""Words messages are dropped under (reception, settlement) that are written down."""
AGAIN_S = 600.0
MOST = 1024
OTHERS = "others"


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """So many messages of a device were refused for a reason."""

    device: str
    reason: str
    count: int


class Incidents:
    """Gathers refusals until they are written down."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._written: dict[tuple[str, str], float] = {}

    def note(self, device: str, reason: str, *, now: float) -> None:
        """Count a refusal; `now` in monotonic seconds."""
        if reason not in NOTED:
            return
        key = (device, reason)
        if key not in self._written and len(self._written) >= MOST:
            self._forget(now)
            key = key if len(self._written) < MOST else (OTHERS, reason)
        self._written.setdefault(key, float("-inf"))
        self._counts[key] = self._counts.get(key, 0) + 1

    def due(self, *, now: float) -> list[Incident]:
        """Take what is to be written down now."""
        keys = [key for key in self._counts if now - self._written[key] >= AGAIN_S]
        for key in keys:
            self._written[key] = now
        return [Incident(device=key[0], reason=key[1], count=self._counts.pop(key)) for key in keys]

    def put_back(self, incidents: list[Incident]) -> None:
        """Take back what could not be written; it is due at once."""
        for one in incidents:
            key = (one.device, one.reason)
            self._counts[key] = self._counts.get(key, 0) + one.count
            self._written[key] = float("-inf")

    def _forget(self, now: float) -> None:
        for key in [key for key, at in self._written.items() if key not in self._counts and now - at >= AGAIN_S]:
            del self._written[key]
