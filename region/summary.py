"""What a region tells the cloud of itself, composed of its vault's counts and its daemon's status. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from shared.wire.audithead import SignedHead
from shared.wire.reports import (
    MOST_AUDITED_RELEASES,
    MOST_DEVICES,
    DeviceLive,
    DeviceSummary,
    DriftState,
    FleetReport,
    QuarantinedDevice,
    RegionLive,
    ReleaseAudit,
    ReleasePair,
)

MOST = 2**53
LATEST = 253_402_300_799.0
"""The last second of the year 9999: what has no end ends there."""
MOST_AUDITS = 20_000
"""Counts of releases a report carries in all, so that it stays within what the cloud takes; at least two for each device."""

MOST_LIVES = 5_000
"""Devices whose live risk stands in their row, for the same reason; the region's own figure is of all."""


def compose(counts: Mapping[str, int], status: Mapping[str, Any], *, now: float) -> FleetReport:
    """Return the report of these counts and this status."""
    devices = status.get("devices")
    region = status.get("name")
    named = [(name, entry) for name, entry in devices.items() if not is_guest(name, region)] if isinstance(devices, Mapping) else []
    releases = min(MOST_AUDITED_RELEASES, max(2, MOST_AUDITS // max(1, len(named))))
    shown = _shown(dict(named))
    return FleetReport(
        at=now,
        cases_stored=counts.get("stored", 0),
        cases_answered=counts.get("answered", 0),
        cases_train=counts.get("train", 0),
        cases_evaluation=counts.get("evaluation", 0),
        expert_release=int(status.get("expert_release") or 0),
        devices=tuple(_device(name, entry, releases, live=shown.get(name)) for name, entry in named[:MOST_DEVICES]),
        drift=msgspec.convert(status.get("drift") or {}, DriftState),
        people_url=str(status.get("people_url") or "")[:256],
        cases_human=_count(status.get("cases_human")),
        cases_generated=_count(status.get("cases_generated")),
        answer_ms_p50=_number(status.get("answer_ms_p50")),
        answer_ms_p99=_number(status.get("answer_ms_p99")),
        audit_head=msgspec.convert(status.get("audit_head"), SignedHead | None),
        live=msgspec.convert(status.get("live"), RegionLive | None),
        quarantined=tuple(_quarantined(name, entry) for name, entry in list((status.get("quarantined") or {}).items())[:MOST_DEVICES]),
    )


def is_guest(device: str, region: object) -> bool:
    """Whether a device is another region's: that one reports it, so that it has one vote and one row."""
    return region is not None and device.partition(".")[2] not in {"", region}


def _quarantined(name: str, entry: Mapping[str, Any]) -> QuarantinedDevice:
    until = min(float(entry.get("until") or 0.0), LATEST)
    return QuarantinedDevice(name=name[:256], at=_number(entry.get("at")), until=until, reason=str(entry.get("reason") or "")[:256])


def _shown(devices: Mapping[str, Mapping[str, Any]]) -> dict[str, DeviceLive]:
    """Return the live risks a report carries: of a very large region those that lie highest for sure."""
    told = {name: msgspec.convert(entry["live"], DeviceLive) for name, entry in devices.items() if entry.get("live")}
    return dict(sorted(told.items(), key=lambda one: one[1].low, reverse=True)[:MOST_LIVES]) if len(told) > MOST_LIVES else told


def _device(name: str, entry: Mapping[str, Any], releases: int, *, live: DeviceLive | None) -> DeviceSummary:
    telemetry = entry.get("telemetry") or {}
    streams = telemetry.get("streams") or []
    update, omissions = (entry.get("reports") or {}).get("student") or {}, entry.get("omissions") or {}
    return DeviceSummary(
        name=name[:256],
        seen_at=_number(entry.get("heard_at")),
        release=_count(telemetry.get("release")),
        update_state=str(telemetry.get("update_state") or "")[:256],
        update_reason=str(update.get("reason") or "")[:256],
        update_release=_count(update.get("release")),
        update_word=str(update.get("state") or "")[:256],
        committed=(_count(update["release"]),) if update.get("state") == "committed" else (),
        audits=msgspec.convert(list(entry.get("audits") or ())[-releases:], tuple[ReleaseAudit, ...]),
        bytes_received=_count(entry.get("bytes_received")),
        latency_ms_p50=_number(telemetry.get("latency_ms_p50")),
        spool_cases=_count(telemetry.get("spool_cases")),
        evicted=_count(telemetry.get("evicted")),
        audits_drawn=_count(omissions.get("drawn")),
        audits_missing=_count(omissions.get("missing")),
        audits_left_out=bool(omissions.get("left_out")),
        spool_in_memory=bool(telemetry.get("spool_in_memory")),
        compared=_compared(telemetry.get("compared")),
        connected=bool(entry.get("connected_recently")),
        live=live,
        **{field: sum(_count(stream[field]) for stream in streams) for field in ("frames", "kept", "deferred", "audited", "dropped")},
    )


def _compared(said: Mapping[str, Any] | None) -> ReleasePair | None:
    if not said:
        return None
    release, samples, lost, won = (_count(said.get(key)) for key in ("release", "compared", "lost", "won"))
    return ReleasePair(release=release, samples=samples, lost=lost, won=won)


def _count(said: Any) -> int:
    """Return what a device said as a count the cloud takes, so that one device's nonsense never costs the region its report."""
    return min(max(int(said or 0), 0), MOST)


def _number(said: Any) -> float:
    value = float(said or 0.0)
    return value if math.isfinite(value) else 0.0
