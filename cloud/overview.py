"""What the dashboard's pages show, as plain values by topic and key; and what changed between two such pictures. Pure.

Topics: `fleet` (one object), `figures` (by region, "" is the fleet), `regions`, `devices` (by "region/name"), `rounds`, `releases`,
`rollouts`, `alerts`, `audit`. A state is one word that stands on its own:
- a region is `here`, `away` (nothing heard for `AWAY_S`) or in `drift`;
- a device is `online`, `silent` (not heard for `SILENT_S`, or its region is away), `updating`, `fallen back` or `refused`.

Example:
    >>> change({"a": {"1": 5, "2": 6}}, {"a": {"1": 5, "3": 7}})
    [{'topic': 'a', 'set': {'3': 7}, 'gone': ['2']}]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from cloud import liverisk
from cloud.records import Region, Release, Round, Step
from shared.wire.reports import DeviceSummary

Topics = dict[str, dict[str, Any]]
AWAY_S = 15.0
SILENT_S = 20.0
MOST_ROUNDS, MOST_RELEASES, MOST_ROLLOUTS, MOST_ALERTS = 50, 60, 20, 100
_UPDATING = frozenset({"offered", "fetched", "verified", "staged", "built", "self-tested", "live"})
_BAD = {"fallen_back": "fallen back", "refused": "refused"}


def region_state(region: Region, now: float) -> str:
    """Return a region's state in a word."""
    if now - region.seen_at > AWAY_S:
        return "away"
    return "drift" if region.report is not None and region.report.drift.alarm else "here"


def device_state(device: DeviceSummary, *, region_here: bool, now: float) -> str:
    """Return a device's state in a word."""
    if not region_here or now - device.seen_at > SILENT_S:
        return "silent"
    return "updating" if device.update_state in _UPDATING else _BAD.get(device.update_state, "online")


def regions_of(regions: Sequence[Region], devices: Sequence[tuple[str, DeviceSummary]], now: float) -> dict[str, Any]:
    """Return the topic `regions`."""
    found = {}
    for region in regions:
        report = region.report
        own = [device for name, device in devices if name == region.name]
        found[region.name] = {
            "name": region.name,
            "state": region_state(region, now),
            "seen_at": _coarse(region.seen_at),
            "devices": len(own),
            "online": sum(device_state(device, region_here=now - region.seen_at <= AWAY_S, now=now) != "silent" for device in own),
            **(_reported(region) if report is not None else {}),
        }
    return found


def _reported(region: Region) -> dict[str, Any]:
    report = region.report
    if report is None:
        return {}
    return {
        "expert": report.expert_release,
        "cases": report.cases_stored,
        "answered": report.cases_answered,
        "train": report.cases_train,
        "new": region.cases_new,
        "evaluation": report.cases_evaluation,
        "human": report.cases_human,
        "people_url": report.people_url,
        "answer_p50_ms": round(report.answer_ms_p50, 1),
        "answer_p99_ms": round(report.answer_ms_p99, 1),
        "drift": msgspec.to_builtins(report.drift),
        "live": liverisk.of_region(report.live),
    }


def devices_of(regions: Sequence[Region], devices: Sequence[tuple[str, DeviceSummary]], now: float) -> dict[str, Any]:
    """Return the topic `devices`."""
    here = {region.name for region in regions if now - region.seen_at <= AWAY_S}
    found = {}
    for region, device in devices:
        audit = next((one for one in reversed(device.audits) if one.release == device.release), None)
        found[f"{region}/{device.name}"] = {
            "region": region,
            "name": device.name,
            "state": device_state(device, region_here=region in here, now=now),
            "seen_at": _coarse(device.seen_at),
            "release": device.release,
            "update": device.update_state,
            "reason": device.update_reason,
            "frames": device.frames,
            "sent": device.deferred + device.audited,
            "dropped": device.dropped,
            "bytes": device.bytes_received,
            "latency_ms": round(device.latency_ms_p50, 2),
            "spool": device.spool_cases,
            "evicted": device.evicted,
            "audited": audit.audited if audit is not None else 0,
            "agreed": audit.agreed if audit is not None else 0,
            "live": liverisk.of_device(device.live),
        }
    return found


def live_of(regions: Sequence[Region], now: float) -> dict[str, Any]:
    """Return the live risk of all regions that are here, together."""
    here = [region for region in regions if now - region.seen_at <= AWAY_S]
    return liverisk.of_fleet((region.name, region.report.live if region.report is not None else None) for region in here)


def rounds_of(rounds: Iterable[tuple[Round, Sequence[Step]]]) -> dict[str, Any]:
    """Return the topic `rounds`: each with its steps and, by region, how it took part and how it judged the candidate."""
    return {str(item.number): round_of(item, steps) for item, steps in rounds}


def round_of(item: Round, steps: Sequence[Step]) -> dict[str, Any]:
    """Return one round as its page shows it."""
    results = {step.name: step.result for step in steps}
    gate = results.get("gate", {})
    return {
        **msgspec.to_builtins(item),
        "step": steps[-1].name if steps else "",
        "steps": [
            {"name": step.name, "state": step.state, "started_at": step.started_at, "finished_at": step.finished_at} for step in steps
        ],
        "regions": _participation(results),
        "checks": gate.get("checks", []),
        "notes": gate.get("notes", []),
        "release": results.get("publish", {}).get("release"),
        "sizes": {key: value for key, value in results.get("publish", {}).items() if key in {"full_bytes", "delta_bytes"}},
        "why": results.get("train", {}).get("reason", ""),
    }


def _participation(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    train, evaluate = results.get("train", {}), results.get("evaluate", {})
    given = {item.get("region", ""): item for item in results.get("aggregate", {}).get("contributions", [])}
    names = sorted({*train.get("participants", {}).values(), *given, *evaluate.get("asked", [])} - {""})
    found = []
    for name in names:
        own, counted = given.get(name, {}), evaluate.get("figures", {}).get(name, {})
        found.append(
            {
                "region": name,
                "asked": name in train.get("participants", {}).values(),
                **{key: own.get(key) for key in ("examples", "steps", "weight", "norm", "refused", "first_loss", "last_loss")},
                "held_out": evaluate.get("cases", {}).get(name),
                "candidate": counted.get("candidate"),
                "current": counted.get("current"),
                "silent": evaluate.get("silent", {}).get(name, ""),
            }
        )
    return found


def releases_of(releases: Iterable[Release]) -> dict[str, Any]:
    """Return the topic `releases`: without their lineage, which GET /v1/releases gives."""
    kept = ("model", "release", "role", "parent", "round", "created_at")
    return {f"{item.model}/{item.release}": {name: getattr(item, name) for name in kept} for item in releases}


def change(before: Topics, after: Topics) -> list[dict[str, Any]]:
    """Return what a page that shows `before` has to be told to show `after`."""
    found = []
    for topic in sorted({*before, *after}):
        old, new = before.get(topic, {}), after.get(topic, {})
        moved = {key: value for key, value in new.items() if key not in old or old[key] != value}
        gone = sorted(set(old) - set(new))
        if moved or gone:
            found.append({"topic": topic, "set": moved, "gone": gone})
    return found


def keyed(items: Iterable[Mapping[str, Any]], name: str, most: int) -> dict[str, Any]:
    """Return the first items by one of their fields."""
    return {str(item[name]): dict(item) for _, item in zip(range(most), items, strict=False)}


def _coarse(at: float) -> float:
    """Return a time in whole seconds: a page that says "3 s ago" needs no more, and what only grew older is no change."""
    return float(int(at))
