"""What the fleet did in a stretch of time, from the counters that regions report; and the figures people look at. Pure.

A region reports counters that only grow until a process starts again. What happened between two reports is their difference; a counter that
fell began anew, so all of it is new. A device that was never reported before only gives the mark to count from.

Figures, all from audit samples (frames drawn at random, answered by student and expert):
- accuracy: the share of audit samples where student and expert agree;
- live risk: the share of audit samples that the student would have kept and the expert answers differently, P(kept and student != expert).
Both with a 95 % interval (Wilson, 1927), which counts samples as independent; samples of one unit are alike, so it is on the narrow side.
Each point looks back until it has seen enough samples, so that a quiet minute does not make a wild line.

Example:
    >>> low, high = interval(95, 100)
    >>> round(low, 3), round(high, 3)
    (0.888, 0.978)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from shared.wire.reports import DeviceSummary, FleetReport, ReleaseAudit

Z = 1.959964
ENOUGH_AUDITS = 200
ENOUGH_FRAMES = 300
LONGEST_LOOK_BACK = 30
MOST_POINTS = 240


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in a stretch of time; two stretches add up field by field.

    `sent`: frames deferred or drawn; `audited`, `agreed`, `kept`, `kept_wrong`: answered audit samples (see ReleaseAudit). Latencies are
    sums over `latency_n` devices and `answer_n` reports, milliseconds. `alarms`: reports under a drift alarm, of `reports`.
    """

    frames: int = 0
    sent: int = 0
    dropped: int = 0
    received_bytes: int = 0
    audited: int = 0
    agreed: int = 0
    kept: int = 0
    kept_wrong: int = 0
    latency_ms: float = 0.0
    latency_n: int = 0
    answer_p50_ms: float = 0.0
    answer_p99_ms: float = 0.0
    answer_n: int = 0
    reports: int = 0
    alarms: int = 0

    def __add__(self, other: Tally) -> Tally:
        """Return both stretches together."""
        return Tally(**{name: getattr(self, name) + getattr(other, name) for name in FIELDS})


FIELDS: tuple[str, ...] = Tally.__struct_fields__


def happened(before: Mapping[str, DeviceSummary], report: FleetReport) -> Tally:
    """Return what happened between a region's last report and this one.

    Args:
        before: the region's devices as they were last reported.
        report: the new one.
    """
    total = Tally(reports=1, alarms=int(report.drift.alarm))
    if report.answer_ms_p50 > 0:
        total += Tally(answer_p50_ms=report.answer_ms_p50, answer_p99_ms=report.answer_ms_p99, answer_n=1)
    for device in report.devices:
        total += _device(before.get(device.name), device)
    return total


def figures(tally: Tally) -> dict[str, float | int | None]:
    """Return the figures of a stretch as plain values; None where there is nothing to tell."""
    low, high = interval(tally.agreed, tally.audited)
    risk_low, risk_high = interval(tally.kept_wrong, tally.audited)
    return {
        "audited": tally.audited,
        "accuracy": _share(tally.agreed, tally.audited), "accuracy_low": low, "accuracy_high": high,
        "risk": _share(tally.kept_wrong, tally.audited), "risk_low": risk_low, "risk_high": risk_high,
        "frames": tally.frames,
        "sent_share": _share(tally.sent, tally.frames),
        "bytes_per_frame": _share(tally.received_bytes, tally.frames, digits=2),
        "device_ms": _share(tally.latency_ms, tally.latency_n, digits=2),
        "answer_p50_ms": _share(tally.answer_p50_ms, tally.answer_n, digits=1),
        "answer_p99_ms": _share(tally.answer_p99_ms, tally.answer_n, digits=1),
        "drift": int(tally.alarms > 0),
    }  # fmt: skip


def points(buckets: Sequence[tuple[float, Tally]]) -> list[list[float | int | None]]:
    """Return a chart's points, oldest first: the time, then the values of `figures` in their order.

    Args:
        buckets: (start in Unix seconds, what happened), ascending; empty stretches are left out.
    """
    found = []
    for index, (at, own) in enumerate(buckets):
        look = [tally for _, tally in buckets[max(0, index - LONGEST_LOOK_BACK + 1) : index + 1]]
        audits = _until(look, "audited", ENOUGH_AUDITS)
        flow = _until(look, "frames", ENOUGH_FRAMES)
        mixed = {**figures(flow), **{name: value for name, value in figures(audits).items() if name in OF_AUDITS}}
        found.append([at, *(mixed | {"frames": own.frames, "drift": int(own.alarms > 0)}).values()])
    return found


OF_AUDITS = frozenset({"audited", "accuracy", "accuracy_low", "accuracy_high", "risk", "risk_low", "risk_high"})
"""The figures that come from audit samples."""


def recent(buckets: Sequence[tuple[float, Tally]]) -> Tally:
    """Return the newest buckets together: as many as hold enough audit samples."""
    return _until([tally for _, tally in buckets], "audited", ENOUGH_AUDITS)


def merged(buckets: Iterable[tuple[float, Tally]], width_s: float) -> list[tuple[float, Tally]]:
    """Return buckets of a larger width, ascending."""
    found: dict[float, Tally] = {}
    for at, tally in buckets:
        start = math.floor(at / width_s) * width_s
        found[start] = found.get(start, Tally()) + tally
    return sorted(found.items())


def interval(hits: int, n: int) -> tuple[float | None, float | None]:
    """Return the Wilson score interval (95 %) of a share; (None, None) of nothing."""
    if n <= 0:
        return None, None
    share, square = hits / n, Z * Z
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = Z * math.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    return round(max(0.0, middle - half), 5), round(min(1.0, middle + half), 5)


def _device(before: DeviceSummary | None, now: DeviceSummary) -> Tally:
    timed = Tally(latency_ms=now.latency_ms_p50, latency_n=1) if now.latency_ms_p50 > 0 and now.connected else Tally()
    if before is None:
        return timed
    known = {audit.release: audit for audit in before.audits}
    total = timed + Tally(
        frames=_grown(before.frames, now.frames),
        sent=_grown(before.deferred + before.audited, now.deferred + now.audited),
        dropped=_grown(before.dropped, now.dropped),
        received_bytes=_grown(before.bytes_received, now.bytes_received),
    )
    for audit in now.audits:
        total += _audit(known.get(audit.release), audit)
    return total


def _audit(before: ReleaseAudit | None, now: ReleaseAudit) -> Tally:
    if before is None or now.audited < before.audited:
        return Tally(audited=now.audited, agreed=now.agreed, kept=now.kept, kept_wrong=now.kept_wrong)
    names = ("audited", "agreed", "kept", "kept_wrong")
    return Tally(**{name: max(0, getattr(now, name) - getattr(before, name)) for name in names})


def _grown(before: int, now: int) -> int:
    return now - before if now >= before else now


def _until(look: Sequence[Tally], name: str, enough: int) -> Tally:
    total = Tally()
    for tally in reversed(look):
        total += tally
        if getattr(total, name) >= enough:
            break
    return total


def _share(part: float, whole: float, digits: int = 5) -> float | None:
    return round(part / whole, digits) if whole > 0 else None


COLUMNS: tuple[str, ...] = ("at", *figures(Tally()))
"""What stands at each place of a point of `points`."""
