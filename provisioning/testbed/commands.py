"""The commands that count each act's numbers again, as the screen prints them; `$T` is the state folder. Pure."""

from __future__ import annotations

from provisioning.testbed.plan import Plan

CLOUD = "--config $T/config/cloud.cloud.toml"


def of(act: int, plan: Plan) -> list[str]:
    """Return the commands of an act, 1 to 5; the ledger's stand in its own lines."""
    regions = plan.region_names
    found = {
        1: ["terrace demo --recount $T --act 1"],
        2: of_cases(plan, regions[0]),
        3: ["terrace demo --recount $T --act 3", f"terrace cloud round list {CLOUD}", f"terrace cloud release list {CLOUD}"],
        4: [f"terrace cloud rollout list {CLOUD}"],
        5: [],
    }
    return found[act]


def of_cases(plan: Plan, region: str) -> list[str]:
    """Return the commands that count a region's cases: every device's spool, then the vault."""
    spools = [f"terrace edge spool --config $T/config/{device}.edge.toml" for device in plan.edge_names(region)]
    return [*spools, f"terrace region vault --config $T/config/{region}.region.toml"]
