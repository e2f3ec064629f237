"""The values the registry and the fleet hand out: rounds, their steps, releases, regions. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from shared.wire.reports import FleetReport


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One federated round. Times in Unix seconds; `reason` says why a round failed or was refused."""

    number: int
    state: str
    reason: str
    requested_by: str
    created_at: float
    finished_at: float | None = None


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
    def cases_new(self) -> int:
        """Training cases it has not taught from yet."""
        return max(self.cases_train - self.cases_learned, 0)
