"""Federated rounds as the testbed sees them: watched on the cloud's status."""

from __future__ import annotations

from typing import Any

from provisioning.testbed.processes import DaemonFailedError
from provisioning.testbed.stage import Stage

ENDED = ("published", "done", "trial")
FAILED = ("failed", "refused")


def newest_round(stage: Stage) -> int:
    """Return the number of the newest round, 0 when there was none."""
    return max((int(entry["number"]) for entry in stage.fleet.status("cloud").get("rounds", [])), default=0)


def open_round(stage: Stage, number: int, *, deadline_s: float = 300.0) -> dict[str, Any]:
    """Watch a federated round to its end, saying each step, and return its last state.

    Raises:
        DaemonFailedError: it failed or was refused, with its reason.
    """
    seen = ""
    state: dict[str, Any] = {}

    def over() -> bool:
        nonlocal seen, state
        rounds = stage.fleet.status("cloud").get("rounds", [])
        state = next((dict(entry) for entry in rounds if entry.get("number") == number), {})
        words = f"{state.get('step', '')} {state.get('reason', '')}".strip()
        if words and words != seen:
            seen = words
            stage.screen.say(f"round {number}: {words}")
        if state.get("state") in FAILED:
            raise DaemonFailedError(f"round {number} {state['state']}: {state.get('reason', 'no reason given')}")
        return state.get("state") in ENDED

    stage.until(over, deadline_s, f"the end of round {number}")
    return state
