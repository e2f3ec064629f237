"""Federated rounds as the testbed sees them: watched on the cloud's status."""

from __future__ import annotations

from typing import Any

from provisioning.testbed.processes import DaemonFailedError
from provisioning.testbed.stage import Stage

ENDED = ("published", "done", "trial", "refused", "failed")


def newest_round(stage: Stage) -> int:
    """Return the number of the newest round, 0 when there was none."""
    return max((int(entry["number"]) for entry in stage.fleet.status("cloud").get("rounds", [])), default=0)


def open_round(stage: Stage, number: int, *, deadline_s: float = 300.0) -> dict[str, Any]:
    """Watch a federated round to its end, saying each step, and return its last state, also of one the gates refused.

    Raises:
        DaemonFailedError: it failed, with its reason.
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
        return state.get("state") in ENDED

    stage.until(over, deadline_s, f"the end of round {number}")
    if state["state"] == "failed":
        raise DaemonFailedError(f"round {number} failed: {state.get('reason') or 'no reason given'}")
    return state


def release_round(stage: Stage, number: int, *, attempts: int = 3) -> int:
    """Watch a round until it has published a release; where the gates refuse, ask for another, with the cases since. Return its number.

    Raises:
        DaemonFailedError: a round failed, or the gates refused every attempt, with the last reason.
    """
    state = open_round(stage, number)
    while state["state"] == "refused":
        attempts -= 1
        if not attempts:
            raise DaemonFailedError(f"the gates refused round {number}: {state.get('reason', '')}", "Run the demo again, or with --loop.")
        stage.screen.say("the gates stand; a round with the cases that came since is asked for")
        number = stage.fleet.start_round()
        state = open_round(stage, number)
    return number
