"""What people should look at now, derived from what the registry knows; nothing is kept and nothing needs to be closed. Pure.

An alert lasts as long as its cause. Its id names cause and subject, so the same cause is the same alert at every look.

Causes, and how bad they are:
- a region nobody has heard of: warning, after ten minutes critical; its devices are not told apart then
- a device whose cases wait in memory only, since it cannot write its disk: warning
- a device its region does not hear: warning; one that throws cases away since its spool is full: warning while it is, else info
- a device its region keeps out, since it sent too much: warning
- a device that leaves audit samples out: warning
- a device whose live risk lies above what it is held to, for sure: warning; one with a drift alarm of its own: warning
- a device of whose audit samples too many have no answer, so that its live risk is censored: warning
- a region whose audit log no longer goes through a head kept here: critical
- a region in drift: warning
- the newest rollout of a model halted: critical; asking: warning; paused: info
- the newest round failed: warning; refused by its gates: info
- a certificate that ends within a week: warning, within a day critical
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

import msgspec

from cloud.overview import AWAY_S, device_state
from cloud.records import AuditBreak, Region, Round
from cloud.rollout_record import Rollout, identity
from cloud.rollout_states import State
from shared.deferral.anytime import CENSORED
from shared.deferral.steadiness import ALARM as DRIFT_ALARM
from shared.wire.reports import DeviceSummary

LONG_AWAY_S, DAY_S = 600.0, 86400.0
SOON_DAYS = 7.0


class Severity(Enum):
    """How bad it is: nice to know, to be looked at today, to be looked at now."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


_RANK = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert. `at` is when its cause began, Unix seconds; `subject` is the region, device, rollout, round or machine it is about."""

    id: str
    at: float
    severity: Severity
    title: str
    detail: str
    subject: str


def alerts_of(
    *,
    regions: Sequence[Region],
    devices: Sequence[tuple[str, DeviceSummary]],
    rollouts: Sequence[Rollout],
    rounds: Sequence[Round],
    certificates: Mapping[str, float],
    now: float,
    breaks: Sequence[AuditBreak] = (),
) -> list[Alert]:
    """Return what is to be looked at, the worst first and of those the newest first.

    Args:
        regions: all the cloud knows.
        devices: (region, device) as last reported.
        rollouts: newest first.
        rounds: newest first.
        certificates: by machine, when its certificate ends, Unix seconds.
        now: Unix seconds.
        breaks: audit logs that were cut off or rewritten.
    """
    here = {region.name for region in regions if now - region.seen_at <= AWAY_S}
    found = [
        *(alert for region in regions for alert in _of_region(region, now)),
        *(alert for region, device in devices if region in here for alert in _of_device(region, device, now)),
        *(_of_break(item) for item in breaks),
        *_of_rollouts(rollouts),
        *_of_rounds(rounds),
        *(alert for name, end in certificates.items() for alert in _of_certificate(name, end, now)),
    ]
    return sorted(found, key=lambda alert: (_RANK[alert.severity], -alert.at, alert.id))


def _of_region(region: Region, now: float) -> Iterator[Alert]:
    away = now - region.seen_at
    if away > AWAY_S:
        severity = Severity.CRITICAL if away > LONG_AWAY_S else Severity.WARNING
        detail = "It has not called the cloud. Its devices go on by themselves and keep what they could not send."
        yield _alert("region-away", region.name, region.seen_at, severity, f"{region.name} is away", detail)
    drift = region.report.drift if region.report is not None else None
    if drift is not None and drift.alarm:
        shares = f"{drift.disagreement:.0%} of {drift.audited} audit samples, {drift.reference:.0%} at first"
        detail = f"Students disagree with the expert on {shares}. {drift.cases_since} training cases since then."
        yield _alert("drift", region.name, drift.since, Severity.WARNING, f"What {region.name} sees has changed", detail)

    for kept in region.report.quarantined if region.report is not None else ():
        detail = f"Its region does not listen to it until its time is over: {kept.reason}. Release it: terrace region quarantine release."
        name = identity(region.name, kept.name)
        yield _alert("quarantine", name, kept.at, Severity.WARNING, f"{name} is kept out", detail)


def _of_break(item: AuditBreak) -> Alert:
    detail = (
        f"{item.kept} entries were there, it says {item.said} now or others in their place: it was cut off, rewritten or restored."
        f" Look into it, then: terrace cloud audit accept {item.region}."
    )
    return _alert("audit-broken", item.region, item.at, Severity.CRITICAL, f"The audit log of {item.region} was changed", detail)


def _of_device(region: str, device: DeviceSummary, now: float) -> Iterator[Alert]:
    name = identity(region, device.name)
    if device_state(device, region_here=True, now=now) == "silent":
        detail = "Its region has not heard of it. What it could not send waits in its spool."
        yield _alert("device-silent", name, device.seen_at, Severity.WARNING, f"{name} is silent", detail)
    if device.audits_left_out:
        detail = (
            f"{device.audits_missing} of {device.audits_drawn} frames it had to send for audit never came, more than dropped frames"
            " explain. What it says of its own releases is worth little until it is known why."
        )
        yield _alert("audits-left-out", name, device.seen_at, Severity.WARNING, f"{name} leaves audit samples out", detail)
    yield from _of_live(name, device)
    if device.evicted:
        severity = Severity.WARNING if device.spool_cases else Severity.INFO
        detail = f"Its spool was full: {device.evicted} cases were given up, the least valuable first; {device.spool_cases} still wait."
        yield _alert("spool-full", name, device.seen_at, severity, f"{name} has lost cases", detail)

    if device.spool_in_memory:
        detail = "Its disk is full, read-only or failing. It goes on answering; cases wait in memory, and a crash would lose them."
        yield _alert("spool-in-memory", name, device.seen_at, Severity.WARNING, f"{name} cannot write its disk", detail)


def _of_live(name: str, device: DeviceSummary) -> Iterator[Alert]:
    live = device.live
    if live is None:
        return
    within = f"{live.low:.1%} to {live.high:.1%}"
    if live.epsilon is not None and live.low > live.epsilon:
        detail = f"{within} of {live.audited} audit samples, {live.epsilon:.1%} are allowed. Its threshold follows as far as it can."
        yield _alert("live-risk", name, live.at, Severity.WARNING, f"{name} keeps too many wrong answers", detail)
    if live.drift == DRIFT_ALARM:
        detail = f"Its student and the expert differ more than at first; live risk {within}."
        yield _alert("device-drift", name, live.at, Severity.WARNING, f"What {name} sees has changed", detail)
    if (settled := live.audited + live.missing) and live.missing > CENSORED * settled:
        detail = f"{live.missing} of {settled} audit samples have no answer: its live risk may lie anywhere between {within}."
        yield _alert("live-censored", name, live.at, Severity.WARNING, f"The live risk of {name} is censored", detail)


def _of_rollouts(rollouts: Sequence[Rollout]) -> Iterator[Alert]:
    severities = {State.HALTED: Severity.CRITICAL, State.ASKING: Severity.WARNING, State.PAUSED: Severity.INFO}
    words = {State.HALTED: "was halted and taken back", State.ASKING: "waits for an operator", State.PAUSED: "is paused"}
    newest = {item.model: item for item in reversed(rollouts)}
    for item in newest.values():
        if item.state in words:
            title = f"The rollout of {item.model} {item.release} {words[item.state]}"
            yield _alert(f"rollout-{item.state.value}", str(item.id), item.changed_at, severities[item.state], title, item.reason)


def _of_rounds(rounds: Sequence[Round]) -> Iterator[Alert]:
    for newest in rounds[:1]:
        if newest.state in {"failed", "refused"}:
            severity = Severity.WARNING if newest.state == "failed" else Severity.INFO
            title = f"Round {newest.number} {'failed' if newest.state == 'failed' else 'was refused by its gates'}"
            at = newest.finished_at or newest.created_at
            yield _alert(f"round-{newest.state}", str(newest.number), at, severity, title, newest.reason)


def _of_certificate(name: str, end: float, now: float) -> Iterator[Alert]:
    days = (end - now) / DAY_S
    if days <= SOON_DAYS:
        severity = Severity.CRITICAL if days <= 1 else Severity.WARNING
        title = f"The certificate of {name} {'ends' if days > 0 else 'has ended'}"
        detail = f"{abs(days):.1f} days {'left' if days > 0 else 'ago'}. Renew it: terrace provision pki."
        yield _alert("certificate", name, end - SOON_DAYS * DAY_S, severity, title, detail)


def _alert(cause: str, subject: str, at: float, severity: Severity, title: str, detail: str) -> Alert:
    return Alert(id=f"{cause}/{subject}", at=at, severity=severity, title=title, detail=detail, subject=subject)
