"""Counting a fleet's cases again, from its files alone, with the commands anyone can type."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from provisioning.testbed import cases
from provisioning.testbed.fleet import Fleet

COMMANDS_AT_ONCE = 2


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What the files of a whole fleet say; `pictures` were found in what left a region."""

    cases: cases.Verdict
    doubled: int
    answered: int
    pictures: int


def count_cases(fleet: Fleet, region: str) -> tuple[cases.Verdict, dict[str, Any]]:
    """Compare the spools of a region's devices with its vault, case by case; the daemons may run or not.

    Spools are read first: a case that leaves its spool later does no harm to the count.

    Returns:
        What became of the cases, and the vault's own count.
    """
    devices = fleet.plan.edge_names(region)
    with ThreadPoolExecutor(COMMANDS_AT_ONCE) as pool:
        spools = dict(zip(devices, pool.map(fleet.recount_spool, devices), strict=True))
    vault = fleet.recount_vault(region)
    verdicts = (cases.judge(spool, vault["devices"].get(device, {})) for device, spool in spools.items())
    return sum(verdicts, cases.Verdict()), vault


def recount(fleet: Fleet) -> Counted:
    """Count cases and pictures of a stopped fleet."""
    regions = fleet.plan.region_names
    counted = [count_cases(fleet, region) for region in regions]
    with ThreadPoolExecutor(COMMANDS_AT_ONCE) as pool:
        pictures = sum(int(found["pictures_found"]) for found in pool.map(fleet.recount_egress, regions))
    return Counted(
        cases=sum((verdict for verdict, _ in counted), cases.Verdict()),
        doubled=sum(int(vault["cases_doubled"]) for _, vault in counted),
        answered=sum(int(vault["cases_answered"]) for _, vault in counted),
        pictures=pictures,
    )
