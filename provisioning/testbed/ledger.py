r"""The demo's arithmetic: events, truth and counters in, the numbers of report.json out. Pure.

Rules:
1. An event file has one JSON object a line; a torn last line (a process killed while writing) is left out.
2. A frame is (stream, number). Its edge prediction is the first event's, the system's is the final event's.
3. The truth of frame n of a stream is `labels[n % len(labels)]`: sources number every frame, also dropped ones.
4. Shares and accuracies count inferred frames of a window of time; latencies are milliseconds.

Example:
    >>> frames = join(parse_events(b'{"stream":"a","sequence":0,"time":1,"state":"final","index":2,"action":"keep"}\\n'))
    >>> frames["a", 0].final
    2
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

FrameKey = tuple[str, int]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a device's event file; only the fields the ledger needs."""

    stream: str
    sequence: int
    time: float
    state: str
    index: int
    source: str = "edge"
    action: str = "keep"
    release: int = 0
    latency_ms: float = 0.0


class FrameRecord(msgspec.Struct, kw_only=True):
    """What became of one frame."""

    time: float
    edge: int
    action: str
    release: int
    final: int | None = None
    source: str = ""
    latency_ms: float = 0.0


class Accuracies(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy of the edge alone, the expert alone and the system on the same frames, as fractions."""

    edge_only: float
    expert: float
    system: float
    frames: int


class Lanes(msgspec.Struct, frozen=True, kw_only=True):
    """The same frames answered by the device alone, the system and the expert alone: right or wrong, and the unit of each frame."""

    edge: list[bool]
    system: list[bool]
    expert: list[bool]
    units: list[str]


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of the inferred frames: deferred by the policy (without audit), audited, and answered by the region."""

    deferred: float
    audited: float
    answered: float
    frames: int


class RateSample(msgspec.Struct, frozen=True, kw_only=True):
    """Frames and drops of one device since it started, at a time."""

    at: float
    frames: int
    dropped: int


def parse_events(data: bytes) -> list[Event]:
    """Read an event file; lines that are no events (a torn end) are left out."""
    decoder = msgspec.json.Decoder(Event)
    events = []
    for line in data.splitlines():
        try:
            events.append(decoder.decode(line))
        except msgspec.MsgspecError:
            continue
    return events


def join(events: Iterable[Event]) -> dict[FrameKey, FrameRecord]:
    """Put the events of each frame together."""
    frames: dict[FrameKey, FrameRecord] = {}
    for event in events:
        record = frames.get((event.stream, event.sequence))
        if record is None:
            record = frames[event.stream, event.sequence] = FrameRecord(
                time=event.time, edge=event.index, action=event.action, release=event.release
            )
        if event.state == "final":
            record.final, record.source, record.latency_ms = event.index, event.source, event.latency_ms
    return frames


def within(frames: Mapping[FrameKey, FrameRecord], start: float, end: float) -> dict[FrameKey, FrameRecord]:
    """Return the frames whose first event lies in [start, end) seconds and that have their final event."""
    return {key: record for key, record in frames.items() if start <= record.time < end and record.final is not None}


def accuracies(
    frames: Mapping[FrameKey, FrameRecord], truth: Mapping[str, Sequence[int]], expert: Mapping[str, Sequence[int]]
) -> Accuracies:
    """Compare predictions with the truth.

    Args:
        frames: the window's frames.
        truth: labels per stream, by index in the data set.
        expert: the expert's prediction per stream, by index in the data set.
    """
    edge = system = best = 0
    for (stream, number), record in frames.items():
        label = truth[stream][number % len(truth[stream])]
        edge += record.edge == label
        system += record.final == label
        best += expert[stream][number % len(expert[stream])] == label
    count = max(1, len(frames))
    return Accuracies(edge_only=edge / count, expert=best / count, system=system / count, frames=len(frames))


def lanes(
    frames: Mapping[FrameKey, FrameRecord],
    *,
    truth: Mapping[str, Sequence[int]],
    units: Mapping[str, Sequence[str]],
    expert: Mapping[str, Sequence[bool]],
) -> Lanes:
    """Say of every frame who answered it rightly.

    Args:
        frames: the window's frames.
        truth: labels per stream, by place in the data set.
        units: units per stream, by place; a unit is of its stream.
        expert: whether the expert is right, per stream, by place.
    """
    found = Lanes(edge=[], system=[], expert=[], units=[])
    for (stream, number), record in sorted(frames.items()):
        place = number % len(truth[stream])
        found.edge.append(record.edge == truth[stream][place])
        found.system.append(record.final == truth[stream][place])
        found.expert.append(expert[stream][place])
        found.units.append(f"{stream} {units[stream][place]}")
    return found


def shares(frames: Mapping[FrameKey, FrameRecord]) -> Shares:
    """Return which share of the frames was deferred, audited and answered by the region."""
    count = max(1, len(frames))
    actions = [record.action for record in frames.values()]
    answered = sum(record.source == "region" for record in frames.values())
    return Shares(
        deferred=actions.count("defer") / count, audited=actions.count("audit") / count, answered=answered / count, frames=len(frames)
    )


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value at `share` of the sorted values (nearest rank), 0 when there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def answer_latencies(frames: Mapping[FrameKey, FrameRecord]) -> list[float]:
    """Return the milliseconds from a frame's arrival to the region's answer, for frames the region answered."""
    return [record.latency_ms for record in frames.values() if record.source == "region"]


def drops_beyond_steady_rate(samples: Sequence[RateSample], swap_at: float, *, window_s: float) -> float:
    """Return how many frames more than usual were dropped around a swap.

    The usual rate is drops per frame over all samples outside the window; what is expected in the window is taken off, and
    less than one frame counts as none.
    """
    inside = [sample for sample in samples if abs(sample.at - swap_at) <= window_s]
    if len(inside) < 2 or len(samples) <= len(inside):
        return 0.0
    frames_inside, drops_inside = inside[-1].frames - inside[0].frames, inside[-1].dropped - inside[0].dropped
    frames_outside = samples[-1].frames - samples[0].frames - frames_inside
    drops_outside = samples[-1].dropped - samples[0].dropped - drops_inside
    expected = frames_inside * drops_outside / max(1, frames_outside)
    beyond = drops_inside - expected
    return beyond if beyond >= 1 else 0.0
