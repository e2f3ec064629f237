"""The commands that count each act's numbers again, as the screen prints them; `$T` is the state folder. Pure."""

from __future__ import annotations

from provisioning.testbed.plan import Plan

CLOUD = "--config $T/config/cloud.cloud.toml"


def of(act: int, plan: Plan) -> list[str]:
    """Return the commands of an act, 1 to 5; the ledger's stand in its own lines."""
    regions = plan.region_names
    devices = plan.edge_names(regions[0])
    spools = [f"terrace edge spool --config $T/config/{device}.edge.toml" for device in devices]
    found = {
        1: ["terrace demo --recount $T --act 1"],
        2: [*spools, f"terrace region vault --config $T/config/{regions[0]}.region.toml"],
        3: ["terrace demo --recount $T --act 3", f"terrace cloud round list {CLOUD}", f"terrace cloud release list {CLOUD}"],
        4: [f"terrace cloud rollout list {CLOUD}"],
        5: [],
    }
    return found[act]
