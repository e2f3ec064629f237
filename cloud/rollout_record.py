"""One rollout as a value, what it says to devices, and how it is shown. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from cloud import rollout
from cloud.agreement import Evidence
from cloud.clusters import Compared
from cloud.rollout_states import OPEN, TAKEN_BACK, State
from shared.release.desired import Desired, DesiredModel
from shared.wire.reports import DeviceSummary, ReleaseAudit

HIDDEN = ("salt", "revision", "published", "stage_at", "origin")


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout. Times in Unix seconds, `share` 0 to 1.

    `previous` is what devices outside the cohort run and what is gone back to; `origin` says what asked for it; the stage began at
    `stage_at`; `votes` and `evidence` are as last seen. Devices have been told of it up to revision `published`.
    """

    id: int
    model: str
    release: int
    role: str
    previous: int
    previous_role: str
    salt: str
    share: float
    state: State
    reason: str
    origin: str
    started_at: float
    stage_at: float
    changed_at: float
    revision: int
    published: int
    evidence: Evidence
    votes: dict[str, str]

    @property
    def is_open(self) -> bool:
        """Whether it may still change."""
        return self.state in OPEN


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a rollout's history: its state and share from `at` on, why, and who did it (`terrace` for its own steps)."""

    at: float
    state: str
    share: float
    reason: str
    who: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout that is to begin."""

    model: str
    release: int
    role: str
    previous: int
    previous_role: str
    salt: str
    share: float
    origin: str
    reason: str


def document(before: Desired, current: Rollout, deltas: Collection[int]) -> Desired:
    """Return the desired state that a rollout asks for.

    Args:
        before: the desired state it follows.
        current: the rollout.
        deltas: releases a delta to its release exists from.

    Raises:
        TrustError: the way back is barred by a raised minimum release.
    """
    if current.state in TAKEN_BACK:
        return rollout.named(before, current.model, DesiredModel(release=current.previous, role=current.previous_role))
    model = DesiredModel(
        release=current.release,
        role=current.role,
        deltas=tuple(deltas),
        previous=current.previous,
        previous_role=current.previous_role,
        cohort_salt=current.salt,
        cohort_share=current.share,
    )
    return rollout.named(before, current.model, model)


def identity(region: str, name: str) -> str:
    """Return a device's full name, `<name>.<region>`, which orders it in a cohort."""
    return name if "." in name else f"{name}.{region}"


def audit_of(device: DeviceSummary, release: int) -> ReleaseAudit | None:
    """Return a device's audit counts on a release, None where it has none."""
    return next((audit for audit in device.audits if audit.release == release), None)


def compared_by(device: DeviceSummary, release: int) -> Compared:
    """Return what a device says of the samples it ran both releases on; nothing where it says it of another, or what cannot be."""
    said = device.compared
    if said is None or said.release != release or said.lost + said.won > said.samples:
        return Compared()
    return Compared(compared=said.samples, lost=said.lost, won=said.won)


def describe(current: Rollout, history: Sequence[Change]) -> dict[str, Any]:
    """Return a rollout as plain JSON values for people; the salt that orders devices is not shown."""
    plain = {name: value for name, value in msgspec.to_builtins(current).items() if name not in HIDDEN}
    return {**plain, "cohort": sorted(current.votes), "history": [msgspec.to_builtins(item) for item in history]}
