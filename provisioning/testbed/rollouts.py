"""Rollouts as the testbed sees them: read off the cloud's status, promoted by command where a small fleet asks."""

from __future__ import annotations

from typing import Any

from provisioning.testbed.processes import run_command
from provisioning.testbed.stage import Stage

ASKING, TAKEN_BACK = "asking", frozenset({"halted", "aborted"})


def newest_rollout(stage: Stage) -> dict[str, Any]:
    """Return the newest rollout as the cloud tells it, empty when there was none."""
    found = stage.fleet.status("cloud").get("rollouts", [])
    return dict(found[0]) if found else {}


def promote_when_asked(stage: Stage) -> None:
    """Say yes where the cloud asks whether so few devices are enough, as an operator would who looked at its evidence."""
    found = newest_rollout(stage)
    if found.get("state") != ASKING:
        return
    stage.screen.say(f"the cloud asks an operator: {found['reason']}")
    why = ["--reason", "the demo in the operator's place"]
    run_command(["cloud", "rollout", "promote", str(found["id"]), *why, "--config", str(stage.fleet.config("cloud"))])
    stage.screen.say("the demo answers in the operator's place: go on")
