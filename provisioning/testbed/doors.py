"""Where people can look in while the story runs: the cloud's dashboard and each region's page, with a one-time link each."""

from __future__ import annotations

import json

from provisioning.testbed.fleet import Fleet
from provisioning.testbed.processes import run_command


def links(fleet: Fleet) -> dict[str, str]:
    """Return a one-time link by daemon, with which somebody becomes its first admin; a daemon without a page has none."""
    found = {"dashboard": str(fleet.status("cloud").get("first_admin_link", ""))}
    for region in fleet.regions:
        said = json.loads(run_command(["region", "account", "invite", "--config", str(fleet.config(region)), "--json"]))
        found[f"pictures at {region}"] = str(said.get("link", ""))
    return {name: link for name, link in found.items() if link}
