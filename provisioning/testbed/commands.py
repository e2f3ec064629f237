"""The commands that count each act's numbers again, as the screen prints them; `$T` is the state folder. Pure."""

from __future__ import annotations

from provisioning.testbed.plan import Plan

CLOUD = "--config $T/config/cloud.cloud.toml"


def of(act: int, plan: Plan) -> list[str]:
    """Return the commands of an act, 1 to 5."""
    regions = plan.region_names
    spools = [f"terrace edge spool --config $T/config/{device}.edge.toml" for device in plan.devices]
    vaults = [f"terrace region vault --config $T/config/{region}.region.toml" for region in regions]
    found = {
        1: ["terrace demo --recount $T --act 1"],
        2: [*spools[: plan.edges], *vaults[:1]],
        3: ["terrace demo --recount $T --act 3", f"terrace cloud round list {CLOUD}", f"terrace cloud release list {CLOUD}"],
        4: [f"terrace cloud rollout list {CLOUD}"],
        5: [*spools, *vaults, *(f"terrace region egress --config $T/config/{region}.region.toml" for region in regions)],
    }
    return found[act]
