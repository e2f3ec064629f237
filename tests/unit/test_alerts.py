"""Alerts: each cause alone, what covers what, and the order they come in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cloud.agreement import Evidence
from cloud.alerts import DAY_S, Alert, Severity, alerts_of
from cloud.records import Region, Round
from cloud.rollout_record import Rollout
from cloud.rollout_states import State
from shared.wire.reports import DeviceSummary, DriftState, FleetReport

NOW = 1_800_000_000.0
DEVICE = DeviceSummary(name="edge-1.region-1", seen_at=NOW - 1)
ROLLOUT = Rollout(
    id=4, model="student", release=7, role="auto", previous=6, previous_role="auto", salt="s", share=0.1, state=State.CANARY, reason="r",
    origin="", started_at=NOW - 90, stage_at=NOW - 90, changed_at=NOW - 30, revision=1, published=1, evidence=Evidence(), votes={},
)  # fmt: skip
ROUND = Round(number=3, state="done", reason="", requested_by="anna", created_at=NOW - 200, finished_at=NOW - 100)


def region(seen_at: float = NOW - 1, drift: DriftState | None = None) -> Region:
    report = FleetReport(at=seen_at, cases_stored=0, cases_answered=0, cases_train=0, cases_evaluation=0, drift=drift or DriftState())
    return Region(name="region-1", node=1, seen_at=seen_at, report=report, cases_learned=0)


def found(**seen: Any) -> list[Alert]:
    calm: dict[str, Any] = {
        "regions": [region()], "devices": [("region-1", DEVICE)], "rollouts": [ROLLOUT], "rounds": [ROUND], "certificates": {}, "now": NOW,
    }  # fmt: skip
    return alerts_of(**{**calm, **seen})


def brief(alerts: list[Alert]) -> list[tuple[str, str]]:
    return [(alert.id, alert.severity.value) for alert in alerts]


def test_a_calm_fleet_has_none() -> None:
    assert found() == []


@pytest.mark.parametrize(("away", "severity"), [(30, "warning"), (700, "critical")])
def test_a_region_that_is_away_speaks_for_its_devices(away: float, severity: str) -> None:
    silent = msgspec.structs.replace(DEVICE, seen_at=NOW - away)
    assert brief(found(regions=[region(NOW - away)], devices=[("region-1", silent)])) == [("region-away/region-1", severity)]


def test_devices_that_are_silent_or_lose_cases_are_named_in_full() -> None:
    silent = msgspec.structs.replace(DEVICE, name="edge-1", seen_at=NOW - 60)
    assert brief(found(devices=[("region-1", silent)])) == [("device-silent/edge-1.region-1", "warning")]
    full = msgspec.structs.replace(DEVICE, evicted=5, spool_cases=900)
    assert brief(found(devices=[("region-1", full)])) == [("spool-full/edge-1.region-1", "warning")]
    was = found(devices=[("region-1", msgspec.structs.replace(full, spool_cases=0))])
    assert (was[0].severity, "5 cases were given up" in was[0].detail) == (Severity.INFO, True)


def test_a_device_that_cannot_write_its_disk_is_named() -> None:
    unwell = msgspec.structs.replace(DEVICE, spool_in_memory=True)
    (alert,) = found(devices=[("region-1", unwell)])
    assert (alert.id, alert.severity) == (f"spool-in-memory/{DEVICE.name}", Severity.WARNING)


def test_drift_says_from_what_to_what() -> None:
    drift = DriftState(alarm=True, since=NOW - 9, audited=40, disagreement=0.45, reference=0.07, evidence=200.0, cases_since=31)
    (alert,) = found(regions=[region(drift=drift)])
    assert (alert.id, alert.at, alert.severity) == ("drift/region-1", NOW - 9, Severity.WARNING)
    assert "45% of 40 audit samples, 7% at first. 31 training cases" in alert.detail


@pytest.mark.parametrize(("state", "severity"), [(State.HALTED, "critical"), (State.ASKING, "warning"), (State.PAUSED, "info")])
def test_a_rollout_that_stands_still_is_told_until_a_newer_one_begins(state: State, severity: str) -> None:
    halted = msgspec.structs.replace(ROLLOUT, state=state, reason="it agrees less")
    (alert,) = found(rollouts=[halted])
    assert (alert.severity.value, alert.detail, alert.subject) == (severity, "it agrees less", "4")
    assert found(rollouts=[msgspec.structs.replace(ROLLOUT, id=5), halted]) == []
    assert len(found(rollouts=[msgspec.structs.replace(ROLLOUT, id=5, model="other"), halted])) == 1


def test_only_the_newest_round_is_told() -> None:
    failed = msgspec.structs.replace(ROUND, state="failed", reason="train: no quorum")
    assert brief(found(rounds=[failed])) == [("round-failed/3", "warning")]
    assert found(rounds=[ROUND, failed]) == []
    assert brief(found(rounds=[msgspec.structs.replace(ROUND, state="refused")])) == [("round-refused/3", "info")]


def test_certificates_are_told_a_week_ahead_and_the_worst_comes_first() -> None:
    ends = {"a": NOW + 8 * DAY_S, "b": NOW + 3 * DAY_S, "c": NOW + 0.5 * DAY_S, "d": NOW - 1}
    alerts = found(certificates=ends)
    assert brief(alerts) == [("certificate/c", "critical"), ("certificate/d", "critical"), ("certificate/b", "warning")]
    assert alerts[1].title == "The certificate of d has ended"
