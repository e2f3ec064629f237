"""The live risk as the dashboard shows it: of a device, of a region, of all regions together. Pure.

What a region does not tell (an older one, or one that has not called) is None, never zero. Where something was told long ago it
keeps the time at which it was told, so that the page can say its age; a region that is away does not stand in the fleet's figure.

Example:
    >>> of_region(None) is None
    True
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from shared.deferral.pooled import Counts, pooled
from shared.wire.reports import DeviceLive, RegionLive


def of_device(live: DeviceLive | None) -> dict[str, Any] | None:
    """Return a device's live risk as plain values; None where it is not told."""
    # a time in whole seconds: what only grew older by a fraction is no change of the page
    return None if live is None else {**msgspec.structs.asdict(live), "at": float(int(live.at)), **_counts(live).shares()}


def of_region(live: RegionLive | None) -> dict[str, Any] | None:
    """Return a region's live risk as plain values; None where it is not told."""
    return None if live is None else {**msgspec.structs.asdict(live), **_counts(live).shares()}


def of_fleet(regions: Iterable[tuple[str, RegionLive | None]]) -> dict[str, Any]:
    """Return the live risk of all regions together, pooled as their devices are.

    Args:
        regions: name and what it tells, of those that are here.
    """
    known = dict(regions)
    told = {name: live for name, live in known.items() if live is not None and live.devices}
    together = pooled({name: _counts(live) for name, live in told.items()})
    total = together.counts
    return {
        "regions": len(told),
        "untold_regions": len(known) - len(told),
        "devices": sum(live.devices for live in told.values()),
        "untold": sum(live.untold for live in known.values() if live is not None),
        "audited": total.audited,
        "missing": total.missing,
        "low": round(together.low, 6),
        "high": round(together.high, 6),
        **total.shares(),
    }


def _counts(live: DeviceLive | RegionLive) -> Counts:
    return Counts(audited=live.audited, wrong=live.wrong, owed=live.owed, missing=live.missing)
