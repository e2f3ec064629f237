"""The commands that recount each act's numbers, as the screen prints them; `$T` is the state folder. Pure."""

from __future__ import annotations

from provisioning.testbed.plan import Plan


def cascade() -> list[str]:
    """Act 1: accuracies, shares, bytes and latencies from event files and labelled streams."""
    return ["terrace demo --recount $T --act 1"]


def cases(plan: Plan, region: str) -> list[str]:
    """Spooled, received and waiting cases on each device of a region, stored and doubled ones in its vault."""
    spools = [f"terrace edge spool --config $T/config/{device}.edge.toml" for device in plan.edge_names(region)]
    return [*spools, f"terrace region vault --config $T/config/{region}.region.toml"]


def ledger(plan: Plan) -> list[str]:
    """Act 5: every spool and vault, and what left each region."""
    counted = [command for region in plan.region_names for command in cases(plan, region)]
    return [*counted, *(f"terrace region egress --config $T/config/{region}.region.toml" for region in plan.region_names)]
