"""The live risk of a region's devices for Prometheus: the figure of all, and each device's own. Pure.

What was not told is left out, so that nobody draws a curve at zero for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

ALWAYS = {
    "devices": ("live_devices", "Devices that told their live risk lately."),
    "untold": ("live_devices_untold", "Connected devices that did not."),
}
REGION = {
    "low": ("live_risk_low", "Lower end of its interval."),
    "high": ("live_risk_high", "Upper end of its interval."),
    "worst_low": ("live_risk_worst_low", "Lower end of the worst device's interval, which holds for all devices together."),
    "worst_high": ("live_risk_worst_high", "Upper end of it."),
    "audited": ("live_audited", "Answered audit samples behind the live risk."),
    "missing": ("live_missing", "Audit samples without an answer."),
    "censored": ("live_devices_censored", "Devices of whose audit samples too many have no answer."),
    "alarms": ("live_devices_drift_alarm", "Devices with a drift alarm of their own."),
    "audit_share_low": ("audit_share_low", "Lowest share of frames that a device draws for audit."),
    "audit_share_high": ("audit_share_high", "Highest."),
    "budget_use_low": ("budget_use_low", "Lowest share of hard frames that a device's byte budget lately let through."),
    "held_back": ("budget_held_back", "Hard frames that byte budgets kept, since the devices' starts."),
}
DEVICE = {
    "low": ("device_live_risk_low", "Lower end of a device's live risk."),
    "high": ("device_live_risk_high", "Upper end of it."),
    "audited": ("device_live_audited", "Answered audit samples behind it."),
    "threshold": ("device_threshold", "Threshold that holds on a device."),
}


def families(status: Mapping[str, Any]) -> Iterator[Metric]:
    """Yield the families of a region's status."""
    live = status.get("live") or {}
    for key, (name, text) in {**ALWAYS, **(REGION if live.get("devices") else {})}.items():
        if live.get(key) is not None:
            yield GaugeMetricFamily(f"terrace_region_{name}", text, value=live[key])
    if live.get("audited"):
        yield GaugeMetricFamily("terrace_region_live_risk", "Share of audit samples kept and contradicted.", value=_share(live, "wrong"))
        yield GaugeMetricFamily("terrace_region_risk_debt", "Part of it that byte budgets caused.", value=_share(live, "owed"))
    told = {name: device["live"] for name, device in status.get("devices", {}).items() if device.get("live")}
    for key, (name, text) in DEVICE.items():
        family = GaugeMetricFamily(f"terrace_region_{name}", text, labels=["device"])
        for device, one in sorted(told.items()):
            if one.get(key) is not None:
                family.add_metric([device], one[key])
        yield family
    share = GaugeMetricFamily("terrace_region_device_live_risk", "A device's live risk, as it tells it.", labels=["device"])
    for device, one in sorted(told.items()):
        if one["audited"]:
            share.add_metric([device], _share(one, "wrong"))
    yield share


def _share(live: Mapping[str, Any], key: str) -> float:
    return round(float(live.get(key, 0)) / float(live["audited"]), 6)
