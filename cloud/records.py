"""The values the registry and the fleet hand out: rounds, their steps, releases, regions. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from shared.wire.reports import FleetReport


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One federated round. Times in Unix seconds; `reason` says why a round failed or was refused.

    `regions` are the only ones asked to train, empty for whoever should; `need` asks only regions in need (a drift alarm); without
    `publish` it is a trial: it runs through the gate and publishes nothing.
    """

    number: int
    state: str
    reason: str
    requested_by: str
    created_at: float
    finished_at: float | None = None
    regions: tuple[str, ...] = ()
    publish: bool = True
    need: bool = False


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a round; `result` is what later steps and people read."""

    round: int
    name: str
    state: str
    started_at: float | None
    finished_at: float | None
    result: dict[str, Any]


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A published release and where it came from; `round` 0 means imported."""

    model: str
    release: int
    role: str
    parent: int
    round: int
    lineage: dict[str, Any]
    created_at: float


class Region(msgspec.Struct, frozen=True, kw_only=True):
    """One region: `node` is its id in federation, `cases_learned` how many training cases it had when it last took part."""

    name: str
    node: int
    seen_at: float
    report: FleetReport | None
    cases_learned: int

    @property
    def cases_train(self) -> int:
        """Training cases it last reported."""
        return self.report.cases_train if self.report is not None else 0

    @property
    def is_in_need(self) -> bool:
        """Whether its last report has a drift alarm."""
        return self.report is not None and self.report.drift.alarm

    @property
    def cases_useful(self) -> int:
        """Training cases it would train on: in need, those since its alarm; else all."""
        if self.report is None:
            return 0
        return self.report.drift.cases_since if self.is_in_need else self.report.cases_train

    @property
    def cases_new(self) -> int:
        """Training cases it has not taught from yet."""
        return max(self.cases_train - self.cases_learned, 0)


class AuditBreak(msgspec.Struct, frozen=True, kw_only=True):
    """A region's audit log no longer goes through a head that is kept here: `kept` entries there were, `said` it says now."""

    region: str
    at: float
    kept: int
    said: int
