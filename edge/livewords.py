"""A device's live risk and byte budget in words, made of its agent's status. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def lines(status: Mapping[str, Any]) -> list[str]:
    """Return what `terrace edge status` prints of live risk, threshold, audit, drift and budget.

    Args:
        status: as the status socket gives it.
    """
    live = status.get("live", {})
    if not live:
        return []
    rows = [("risk", risk(live)), ("rule", rule(live)), ("audit", audit(live, status.get("audit_share", 0.0))), ("drift", drift(live))]
    kept = memory(status.get("live_state", {}))
    rows += [("memory", kept)] if kept else []
    return [f"{label:9}{words}" for label, words in [*rows, ("budget", budget(status.get("budget", {}), live))]]


def risk(live: Mapping[str, Any]) -> str:
    """Return the live risk with its interval."""
    if not live["audited"]:
        return "live risk not known yet: no audit sample has been answered"
    censored = f"; CENSORED: {live['missing']} samples have no answer" if live["is_censored"] else ""
    inherited = f", {live['inherited']:.2%} of it by inherited answers" if live.get("inherited") else ""
    return f"live risk {live['risk']:.2%} ({live['low']:.2%} to {live['high']:.2%}) of {live['audited']} audit samples{inherited}{censored}"


def rule(live: Mapping[str, Any]) -> str:
    """Return which threshold holds and what moves it."""
    if live["threshold"] is None:
        return "no threshold: the card has no calibration, only audit samples are sent"
    if live["epsilon"] is None:
        return f"threshold {live['threshold']:.3f}, fixed"
    return f"threshold {live['threshold']:.3f}, begun at {live['start']:.3f}, held to a live risk of {live['epsilon']:.2%}"


def audit(live: Mapping[str, Any], share: float) -> str:
    """Return which share is drawn and what waits for its answer."""
    return f"{share:.1%} of all frames are drawn; {live['pending']} samples wait for their answer, {live['missing']} have none"


def drift(live: Mapping[str, Any]) -> str:
    """Return how student and expert stand."""
    if live["drift"] == "learning":
        return "learning how often student and expert differ"
    state = "ALARM" if live["drift"] == "alarm" else "none"
    return f"{state}: they differ on {live['disagreement']:.1%} of the newest samples, {live['reference']:.1%} at first"


def memory(said: Mapping[str, Any]) -> str:
    """Return what is wrong with the state that is kept over restarts; "" where nothing is."""
    failing = f"NOT KEPT over a restart: {said['failing']}" if said.get("failing") else ""
    return "; ".join(filter(None, [failing, f"begun anew: {said['begun_anew']}" if said.get("begun_anew") else ""]))


def budget(said: Mapping[str, Any], live: Mapping[str, Any]) -> str:
    """Return what the byte budget let through and what it cost in risk."""
    refused = f"; {said.get('audits_refused', 0)} audit samples had no bytes" if said.get("audits_refused") else ""
    if said.get("rate") is None:
        return f"unlimited, {said.get('hard_bytes', 0)} bytes of hard cases, {said.get('audit_bytes', 0)} of audit samples{refused}"
    return (
        f"{said['rate']:.0f} bytes/s, {said['left']} left; {said['use']:.0%} of the last hard frames let through, "
        f"{said['held_back']} held back, risk debt {live['debt']:.2%}{refused}"
    )
