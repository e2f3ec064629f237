"""Reads what alerts are derived from (alerts.py says what they are)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cloud.alerts import alerts_of
from cloud.auditheads import AuditHeads
from cloud.fleet import Fleet
from cloud.registry import Registry
from cloud.rollout_book import RolloutBook
from shared.clock import Clock


class AlertBoard:
    """The alerts of this moment.

    Args:
        registry: rounds.
        fleet: regions and devices.
        book: rollouts.
        heads: breaks of regions' audit logs.
        certificates: by machine, when its certificate ends, Unix seconds.
        clock: wall time.
    """

    def __init__(
        self, *, registry: Registry, fleet: Fleet, book: RolloutBook, heads: AuditHeads, certificates: Mapping[str, float], clock: Clock
    ) -> None:
        self._registry = registry
        self._fleet = fleet
        self._book = book
        self._heads = heads
        self._certificates = certificates
        self._clock = clock

    def alerts(self) -> list[dict[str, Any]]:
        """Return them as plain JSON values, the worst first.

        Raises:
            StorageError: the registry cannot be read.
        """
        found = alerts_of(
            regions=self._fleet.regions(),
            devices=self._fleet.devices(),
            rollouts=self._book.rollouts(),
            rounds=self._registry.rounds()[:1],
            breaks=self._heads.breaks(),
            certificates=self._certificates,
            now=self._clock(),
        )
        return [msgspec.to_builtins(alert) for alert in found]
