"""A device's link in words, made of its agent's status. Pure.

Example:
    connected to the region; key epoch open for 3 min 5 s
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge.doctor.words import size, span

LABEL = 12
"""Width of the first column."""


def lines(status: Mapping[str, Any]) -> list[str]:
    """Return what `terrace link status` prints.

    Args:
        status: as the status socket gives it.
    """
    link, spool = status.get("link", {}), status.get("spool", {})
    rows = [
        ("link", connection(link)),
        ("epoch", epoch(link.get("epoch", {}))),
        ("heard", _heard(link.get("heard_s_ago"))),
        ("round trip", _known(link.get("round_trip_ms"), "{:.0f} ms")),
        ("rate", _rate(link.get("rate_bytes_per_s"))),
        ("sent", f"{link.get('cases_sent', 0)} cases, {link.get('receipts', 0)} receipts, {size(link.get('bytes_sent', 0))} in all"),
        ("in flight", f"{link.get('in_flight', 0)} cases without a receipt; credit for {_credit(link.get('credit_left'))}"),
        ("answers", f"{link.get('answers', 0)} came, {link.get('answers_late', 0)} were late, {link.get('answers_absent', 0)} never came"),
        ("spool", f"{spool.get('cases', 0)} cases wait, {size(spool.get('bytes', 0))}{_alarm(spool.get('alarm'))}"),
        ("dropped", dropped(link, spool)),
    ]
    return [f"{label:{LABEL}}{words}" for label, words in rows]


def connection(link: Mapping[str, Any]) -> str:
    """Return whether there is a link, and since when there is trouble."""
    if link.get("connected"):
        away = ", to which it has failed over" if link.get("route") == "away" else ""
        return f"connected to {link.get('region') or 'the region'}{away} ({link.get('connections', 1)} connections since the start)"
    if link.get("broker_connected"):
        return "connected to the broker, not yet to the region behind it"
    return f"not connected: {link.get('error') or 'trying'}"


def epoch(said: Mapping[str, Any]) -> str:
    """Return how far the device and its region are."""
    state = str(said.get("state", "unknown"))
    age = said.get("age_s") or 0.0
    return f"{state} for {span(age)}, {said.get('seals', 0)} messages sealed" if state != "no key" else "no key of the region has come yet"


def dropped(link: Mapping[str, Any], spool: Mapping[str, Any]) -> str:
    """Return what was dropped and why: words of the region, cases before and in the spool."""
    reasons = {f"{reason} (link)": count for reason, count in sorted(link.get("dropped", {}).items())}
    reasons |= {name.replace("_", " "): spool.get(name, 0) for name in ("evicted", "dropped_before_spool", "not_spooled")}
    found = [f"{count} {reason}" for reason, count in reasons.items() if count]
    return ", ".join(found) or "nothing"


def _alarm(reason: str | None) -> str:
    return f"; IN MEMORY ONLY: {reason}" if reason else ""


def _heard(seconds: float | None) -> str:
    return "the region has said nothing yet" if seconds is None else f"the region's last word {span(seconds)} ago"


def _known(value: float | None, form: str) -> str:
    return form.format(value) if value else "not known yet"


def _rate(value: float | None) -> str:
    return f"{size(value)}/s" if value else "not known yet"


def _credit(value: int | None) -> str:
    return "a first few" if value is None else f"{value} more messages"
