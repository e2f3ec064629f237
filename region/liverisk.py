"""The live risk of the region's devices: what each tells of itself, checked, and all together. Pure.

Rules, in order:
1. A device tells counts and a share. Its interval is computed here from those (deferral.anytime), never taken from its word: it is never
   narrower than the counts allow.
2. What cannot be (a share beyond 1, no number, more errors than samples) or does not say how many samples are missing is not told.
3. Devices that told lately (`LATELY_S`) stand in the region's figure; connected ones that did not are counted as untold, never as zero.
4. What is told is the device's own word. The region's own count of the same (agreement), and of samples left out (omissions), stand
   beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from shared.deferral.anytime import CENSORED
from shared.deferral.pooled import Counts, pooled
from shared.deferral.steadiness import ALARM, LEARNING
from shared.wire.messages import LiveWord, Telemetry
from shared.wire.reports import DeviceLive, RegionLive

LATELY_S = 30.0
MOST = 2**53


def of_device(telemetry: Telemetry | None, *, told_at: float) -> DeviceLive | None:
    """Return what a device tells of its live risk; None where it does not, or where it cannot be (rule 2).

    Args:
        telemetry: its newest.
        told_at: when that was heard, Unix seconds.
    """
    word = telemetry.live if telemetry is not None else None
    if telemetry is None or word is None or not _can_be(word):
        return None
    counts = Counts(
        audited=word.audited,
        wrong=round(word.risk * word.audited),
        owed=round(min(word.debt, word.risk) * word.audited),
        missing=word.missing,
    )
    low, high = counts.interval()
    return DeviceLive(
        at=told_at,
        audited=counts.audited,
        wrong=counts.wrong,
        owed=counts.owed,
        missing=counts.missing,
        pending=min(max(word.pending, 0), MOST),
        low=round(low, 6),
        high=round(high, 6),
        threshold=_finite(word.threshold),
        epsilon=_finite(word.epsilon),
        audit_share=round(telemetry.audit_share, 6) if 0.0 <= telemetry.audit_share <= 1.0 else None,
        budget_bytes_per_s=_finite(word.budget_bytes_per_s),
        budget_use=round(word.budget_use, 4),
        held_back=min(max(word.held_back, 0), MOST),
        drift=word.drift[:256],
    )


def of_region(devices: Mapping[str, DeviceLive | None], *, connected: set[str], now: float) -> RegionLive:
    """Return the figures of all devices together.

    Args:
        devices: what each tells, by name.
        connected: those that were heard lately.
        now: Unix seconds.
    """
    told = {name: live for name, live in devices.items() if live is not None and now - live.at <= LATELY_S}
    figures = pooled({name: counts_of(live) for name, live in told.items()})
    total, worst = figures.counts, figures.worst
    lives = list(told.values())
    thresholds = [live.threshold for live in lives if live.epsilon is not None and live.threshold is not None]
    shares = [live.audit_share for live in lives if live.audit_share is not None]
    return RegionLive(
        devices=len(told),
        untold=len(connected - set(told)),
        audited=total.audited,
        wrong=total.wrong,
        owed=total.owed,
        missing=total.missing,
        pending=sum(live.pending for live in lives),
        low=round(figures.low, 6),
        high=round(figures.high, 6),
        worst=worst.name[:256] if worst else "",
        worst_risk=worst.risk if worst else 0.0,
        worst_low=round(worst.low, 6) if worst else 0.0,
        worst_high=round(worst.high, 6) if worst else 1.0,
        censored=sum(is_censored(live) for live in lives),
        alarms=sum(live.drift == ALARM for live in lives),
        learning=sum(live.drift == LEARNING for live in lives),
        following=len(thresholds),
        threshold_low=min(thresholds, default=None),
        threshold_high=max(thresholds, default=None),
        audit_share_low=min(shares, default=None),
        audit_share_high=max(shares, default=None),
        budgeted=sum(live.budget_bytes_per_s is not None for live in lives),
        budget_use_low=min((live.budget_use for live in lives), default=1.0),
        held_back=sum(live.held_back for live in lives),
    )


def shown(devices: Mapping[str, DeviceLive | None], region: RegionLive, *, connected: set[str]) -> dict[str, Any]:
    """Return what the region's page shows: the figure of all, and a row per device; `live` is None where it is not told."""
    rows = [
        {
            "name": name,
            "connected": name in connected,
            "live": live and {**msgspec.structs.asdict(live), "at": float(int(live.at)), **counts_of(live).shares()},
        }
        for name, live in devices.items()
    ]
    return {"live": {**msgspec.structs.asdict(region), **counts_of(region).shares()}, "devices": rows}


def counts_of(live: DeviceLive | RegionLive) -> Counts:
    """Return its counts as they add up."""
    return Counts(audited=live.audited, wrong=live.wrong, owed=live.owed, missing=live.missing)


def is_censored(live: DeviceLive) -> bool:
    """Whether too many of its samples have no answer."""
    return live.missing > CENSORED * (live.audited + live.missing)


def _can_be(word: LiveWord) -> bool:
    shares = (word.risk, word.debt, word.budget_use)
    return all(0.0 <= share <= 1.0 for share in shares) and 0 <= word.audited <= MOST and 0 <= word.missing <= MOST


def _finite(value: float | None) -> float | None:
    return round(value, 6) if value is not None and math.isfinite(value) else None
