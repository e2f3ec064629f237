"""What the doctor makes of the talk with broker and region: by what the running agent says, or by a visit of its own. Pure.

An agent that runs is asked and nobody else: a second connection with its identity would take the broker from it, and it would take it
back, for ever. Both ways end in the same four findings: access, region, round trip, throughput.
"""

from __future__ import annotations

from edge.doctor.findings import Finding, Outcome
from edge.doctor.judgement import Self
from edge.doctor.observations import Agent, Relayed, Visited
from edge.doctor.words import size, span
from shared.errors import AccessError, LinkError, TrustError

QUIET_S = 30.0
"""Longer than the region is ever silent to a device that says something every two seconds."""
ANNOUNCEMENT = "announcement"
"""Under which reason an agent counts key announcements that it does not believe."""
RESTLESS = 4
"""Connections within a minute from which on something takes them away again and again."""
CASE_BYTES = 30_000
"""A hard case as devices send them."""
REVOKED = (
    "Take it off with `terrace region revoke --undo`, if it is still yours; a quarantine ends with `terrace region quarantine release`."
)


def of_agent(agent: Agent, me: Self, relayed: Relayed) -> list[Finding]:
    """Judge what the running agent says.

    Args:
        agent: its status.
        me: this device.
        relayed: what the relay said, which tells a revoked device from a region that is down.
    """
    wrong = _agent_shut_out(agent, relayed)
    if wrong is not None:
        return [wrong]
    link = agent.link
    whose = f"{link.region} (failed over)" if link.region not in {"", me.region} else me.region
    access = _ok("access", f"the broker of {whose} delivers to the agent")
    if link.epoch.state == "no key":
        return [access, _unbelieved(f"{link.dropped.get(ANNOUNCEMENT)} times")]
    if link.epoch.state != "open" or (link.heard_s_ago or 0.0) > QUIET_S:
        since = "has never answered" if link.heard_s_ago is None else f"has been silent for {span(link.heard_s_ago)}"
        return [access, _silent_region(f"the region {since} (key epoch: {link.epoch.state or 'unknown'})")]
    heard = _ok("region", f"answers the agent, {span(link.heard_s_ago or 0.0)} ago")
    return [access, heard, _round_trip(link.round_trip_ms / 1000, me), _throughput(link.rate_bytes_per_s, me, by_agent=True)]


def of_visit(visit: Visited, me: Self, relayed: Relayed) -> list[Finding]:
    """Judge a connection the doctor made itself; arguments as `of_agent`."""
    wrong = _visit_shut_out(visit, relayed)
    if wrong is not None:
        return [wrong]
    throughput = _throughput(visit.rate_bytes_per_s, me, by_agent=False)
    access = _ok("access", "the broker delivers; no agent runs, so this connection was the doctor's")
    if visit.key not in {"", "believed"}:
        return [access, _unbelieved(visit.key), throughput]
    if not visit.opened:
        reason = f"; it hints {visit.hint!r}" if visit.hint else ""
        return [access, _silent_region(f"the region does not answer an opening{reason}"), throughput]
    return [access, _ok("region", "opened a key epoch with us"), _round_trip(visit.round_trip_s, me), throughput]


def _agent_shut_out(agent: Agent, relayed: Relayed) -> Finding | None:
    """Why the broker does not serve the agent, if it does not."""
    link = agent.link
    if relayed.status == 403:
        return _shut_out("the agent runs", relayed)
    if link.connections_last_minute >= RESTLESS:
        words = f"the agent had to connect {link.connections_last_minute} times within a minute"
        return _wrong("access", words, "Another process or a cloned card uses this identity, or the network comes and goes.")
    if not link.broker_connected:
        said = link.error or "it has not connected yet"
        return _wrong("access", f"the agent runs and is not connected: {said}", "It tries again by itself, at least every 5 s.")
    if link.epoch.state == "no key" and not link.dropped.get(ANNOUNCEMENT):
        return _nothing_delivered("the agent is connected", relayed, is_hinted=False)
    return None


def _visit_shut_out(visit: Visited, relayed: Relayed) -> Finding | None:
    """Why the broker did not serve the doctor, if it did not."""
    if not visit.accepted:
        return _wrong("access", f"the broker does not take the connection: {visit.error or 'no reason given'}", "See the broker's log.")
    if relayed.status == 403:
        return _shut_out("connected (no agent runs)", relayed)
    if visit.lost:
        words = f"the broker took the connection and closed it: {visit.error}"
        return _wrong("access", words, "An agent with another state folder or a cloned card uses this identity, or a limit is met.")
    return None if visit.delivered else _nothing_delivered("connected (no agent runs)", relayed, is_hinted=bool(visit.hint))


def _unbelieved(why: str) -> Finding:
    remedy = "Compare the clocks; a region restored from a backup announces anew. The agent's log says why it refuses."
    return _wrong("region", f"the region's key announcement is not believed: {why}", remedy, TrustError.exit_code)


def _shut_out(who: str, relayed: Relayed) -> Finding:
    """What the region itself says: this device is not listened to, whatever the broker still delivers."""
    return _wrong("access", f"{who}, and the region refuses this device: {relayed.words}", REVOKED, AccessError.exit_code)


def _nothing_delivered(who: str, relayed: Relayed, *, is_hinted: bool) -> Finding:
    """Why a connected device gets not even the announcement that is for all."""
    if relayed.status == 200 and not is_hinted:
        words = f"{who}, the region's relay answers, but the broker delivers nothing, not even the region's key"
        return _wrong("access", words, f"The broker's access list shuts this device out. {REVOKED}", AccessError.exit_code)
    words = f"{who}; the broker holds no key of the region, and the relay gives none"
    return _wrong("access", words, "The broker is up and the region is not: `terrace region status` on its machine.")


def _silent_region(words: str) -> Finding:
    remedy = "The broker is up and the region's intake is not, or refuses us: `terrace region status` there counts what it dropped and why."
    return _wrong("region", words, remedy)


def _round_trip(seconds: float, me: Self) -> Finding:
    if seconds <= 0:
        return Finding(check="round trip", outcome=Outcome.UNKNOWN, found="no case has been receipted yet")
    if seconds > me.answer_deadline_s:
        words = f"{span(seconds)}, longer than frames wait for an answer ({span(me.answer_deadline_s)})"
        return _wrong("round trip", words, "The link or the region is overloaded; or raise policy.answer_deadline_s.")
    return _ok("round trip", f"{1000 * seconds:.0f} ms from sending to the region's word")


def _throughput(rate: float, me: Self, *, by_agent: bool) -> Finding:
    if rate <= 0 and by_agent:
        return Finding(check="throughput", outcome=Outcome.UNKNOWN, found="the agent has sent too little to tell")
    if rate * me.answer_deadline_s < CASE_BYTES:
        words = f"{size(rate)}/s: one case of {size(CASE_BYTES)} takes longer than frames wait for an answer"
        return _wrong("throughput", words, "Cases arrive, answers come late. A better link, or smaller pictures (picture.quality).")
    whose = "as the agent measures it" if by_agent else "acknowledged by the broker"
    return _ok("throughput", f"{size(rate)}/s {whose}")


def _wrong(check: str, found: str, remedy: str, code: int = LinkError.exit_code) -> Finding:
    return Finding(check=check, outcome=Outcome.WRONG, found=found, remedy=remedy, exit_code=code)


def _ok(check: str, found: str) -> Finding:
    return Finding(check=check, outcome=Outcome.OK, found=found)
