"""What a region tells the cloud of itself, composed of its vault's counts and its daemon's status. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.wire.reports import MOST_DEVICES, DeviceSummary, FleetReport


def compose(counts: Mapping[str, int], status: Mapping[str, Any], *, now: float) -> FleetReport:
    """Return the report of these counts and this status."""
    devices = status.get("devices")
    named = devices.items() if isinstance(devices, Mapping) else ()
    return FleetReport(
        at=now,
        cases_stored=counts.get("stored", 0),
        cases_answered=counts.get("answered", 0),
        cases_train=counts.get("train", 0),
        cases_evaluation=counts.get("evaluation", 0),
        expert_release=int(status.get("expert_release") or 0),
        devices=tuple(_device(name, entry) for name, entry in list(named)[:MOST_DEVICES]),
    )


def _device(name: str, entry: Mapping[str, Any]) -> DeviceSummary:
    telemetry = entry.get("telemetry") or {}
    streams = telemetry.get("streams") or []
    update = (entry.get("reports") or {}).get("student") or {}
    return DeviceSummary(
        name=name[:256],
        seen_at=float(entry.get("heard_at") or 0.0),
        release=int(telemetry.get("release") or 0),
        update_state=str(telemetry.get("update_state") or "")[:256],
        update_reason=str(update.get("reason") or "")[:256],
        committed=(int(update["release"]),) if update.get("state") == "committed" else (),
        **{field: sum(int(stream[field]) for stream in streams) for field in ("frames", "kept", "deferred", "audited", "dropped")},
    )
