"""What the testbed remembers of every look at the daemons, for plots and for finding when something happened. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from provisioning.testbed import ledger


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One device's counters since it started; `connected` is the link to its region, `state` that of its last update."""

    frames: int = 0
    inferred: int = 0
    dropped: int = 0
    spool: int = 0
    release: int = 0
    connected: bool = False
    state: str = ""


class Region(msgspec.Struct, frozen=True, kw_only=True):
    """One region's counters; `audited` samples and what follows are its drift test's."""

    stored: int = 0
    answered: int = 0
    audited: int = 0
    alarm: bool = False
    disagreement: float = 0.0
    evidence: float = 0.0


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One look at all daemons at a time in Unix seconds; who did not answer is left out."""

    at: float
    devices: dict[str, Device] = {}
    regions: dict[str, Region] = {}


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done or seen, at a time in Unix seconds."""

    at: float
    what: str


def moment(at: float, statuses: Mapping[str, Mapping[str, Any]]) -> Moment:
    """Make a moment of what the daemons say of themselves."""
    return Moment(
        at=at,
        devices={name: device(status) for name, status in statuses.items() if "streams" in status},
        regions={name: region(status) for name, status in statuses.items() if "cases_stored" in status},
    )


def device(status: Mapping[str, Any]) -> Device:
    """Read a device's counters off its status; an empty status gives zeros."""
    streams = status.get("streams", {}).values()

    def total(*names: str) -> int:
        return sum(int(stream.get(name, 0)) for stream in streams for name in names)

    return Device(
        frames=total("frames"),
        inferred=total("kept", "deferred", "audited"),
        dropped=total("dropped"),
        spool=int(status.get("spool", {}).get("cases", 0)),
        release=int(status.get("release", 0)),
        connected=bool(status.get("link", {}).get("connected")),
        state=str(status.get("update", {}).get("state", "")),
    )


def region(status: Mapping[str, Any]) -> Region:
    """Read a region's counters off its status."""
    drift = status.get("drift", {})
    return Region(
        stored=int(status.get("cases_stored", 0)),
        answered=int(status.get("cases_answered", 0)),
        audited=int(drift.get("audited", 0)),
        alarm=bool(drift.get("alarm")),
        disagreement=float(drift.get("disagreement", 0.0)),
        evidence=float(drift.get("evidence", 0.0)),
    )


def rates(moments: Sequence[Moment], name: str) -> list[ledger.RateSample]:
    """Return a device's frames and drops over time."""
    found = ((moment.at, moment.devices[name]) for moment in moments if name in moment.devices)
    return [ledger.RateSample(at=at, frames=seen.frames, dropped=seen.dropped) for at, seen in found]


def spool(moments: Sequence[Moment], devices: Sequence[str]) -> list[tuple[float, int]]:
    """Return how many cases waited on these devices together, over time."""
    return [(one.at, sum(one.devices[name].spool for name in devices if name in one.devices)) for one in moments]


def answered(moments: Sequence[Moment], devices: Sequence[str]) -> list[tuple[float, int]]:
    """Return how many frames these devices had answered since the first moment, over time; a device that starts anew goes on."""
    total, before = 0, dict[str, int]()
    rows = []
    for one in moments:
        for name in devices:
            if name in one.devices:
                now = one.devices[name].inferred
                total += now - before.get(name, now) if now >= before.get(name, now) else now
                before[name] = now
        rows.append((one.at, total))
    return rows
