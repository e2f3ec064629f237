"""Composes the dashboard's picture of the cloud from its files: one place that reads, overview.py says what it means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from cloud import overview
from cloud.database import Database
from cloud.fleet import Fleet
from cloud.history import History
from cloud.overview import MOST_ALERTS, MOST_RELEASES, MOST_ROLLOUTS, MOST_ROUNDS, Topics
from cloud.registry import Registry
from shared.audit import AuditLog
from shared.clock import Clock

Listing = Callable[[], Iterable[Mapping[str, Any]]]


def nothing() -> list[dict[str, Any]]:
    """Return an empty listing, for what a test leaves out."""
    return []


class Picture:
    """What the dashboard shows now.

    Args:
        name: the fleet's.
        database: of the registry; says when something changed.
        registry: rounds and releases.
        fleet: regions and devices.
        history: figures over time.
        audit: the audit log; its length is shown.
        clock: wall time.
        rollouts: newest first, as GET /v1/rollouts gives them.
        alerts: as GET /v1/alerts gives them.
    """

    def __init__(
        self, *, name: str, database: Database, registry: Registry, fleet: Fleet, history: History, audit: AuditLog, clock: Clock,
        rollouts: Listing = nothing, alerts: Listing = nothing,
    ) -> None:  # fmt: skip
        self._name = name
        self._database = database
        self._registry = registry
        self._fleet = fleet
        self._history = history
        self._audit = audit
        self._clock = clock
        self._rollouts = rollouts
        self._alerts = alerts

    def version(self) -> tuple[object, ...]:
        """Return what is another whenever a file changed; cheap."""
        return (*self._database.version(), self._audit.head().count)

    def topics(self) -> Topics:
        """Return the whole picture.

        Raises:
            StorageError: a file cannot be read.
        """
        now = self._clock()
        regions, devices = self._fleet.regions(), self._fleet.devices()
        rounds = self._registry.rounds()[:MOST_ROUNDS]
        shown = overview.devices_of(regions, devices, now)
        states = [device["state"] for device in shown.values()]
        return {
            "fleet": {
                "": {
                    "name": self._name,
                    "regions": len(regions),
                    "regions_here": sum(now - region.seen_at <= overview.AWAY_S for region in regions),
                    "devices": len(states),
                    "online": sum(state != "silent" for state in states),
                    "live": overview.live_of(regions, now),
                }
            },
            "figures": self._history.recent(now=now),
            "regions": overview.regions_of(regions, devices, now),
            "devices": shown,
            "rounds": overview.rounds_of((item, self._registry.steps(item.number)) for item in rounds),
            "releases": overview.releases_of(self._registry.releases()[:MOST_RELEASES]),
            "rollouts": overview.keyed(self._rollouts(), "id", MOST_ROLLOUTS),
            "alerts": overview.keyed(self._alerts(), "id", MOST_ALERTS),
            "audit": {"": msgspec.to_builtins(self._audit.head())},
        }
