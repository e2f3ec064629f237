r"""What devices, system and expert told of the streamed boards, against what is on them. Pure.

Rules:
1. The device's own word is a frame's first event, the system's is its final one; both hold the boxes that were told, from the card's
   score threshold on. The expert is run on the same boards and judged by what it would tell.
2. The truth of frame n of a stream is that of place n modulo the stream's boards.
3. mAP is of told boxes at an overlap of 0.5: boxes nobody was told do not help it, so it is lower than a detector's own over all scores.
4. A board has a missed defect when a defect on it has no told box of its class. It is caught when it was sent as a hard case, and mended
   when the system's final word misses nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from provisioning.testbed.ledger import FrameKey, quantile
from shared.vision.boxes import Detections
from shared.vision.tasks.precision import Truth, mean_average_precision, missed


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream's truth: what is on each board by place, in pixels of `side`, and the boards' names."""

    truth: list[Truth]
    units: list[str]
    side: int


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    """An object of an event; its box in shares of the board."""

    label: str
    confidence: float
    box: tuple[float, float, float, float]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a device's event file; only what is judged here."""

    stream: str
    sequence: int
    time: float
    state: str
    action: str
    source: str = "edge"
    latency_ms: float = 0.0
    objects: tuple[Thing, ...] = ()


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """One streamed board: what the device told, what the system told in the end, and how it was handled."""

    own: tuple[Thing, ...]
    final: tuple[Thing, ...]
    action: str
    source: str
    latency_ms: float


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """How good one of the three is: mAP of told boxes, share of the defects and of the boards where a defect was missed."""

    map_50: float
    missed_defects: float
    missed_boards: float

    def words(self) -> str:
        """Say it."""
        return f"mAP {self.map_50:.3f}, {100 * self.missed_defects:.1f} % of defects missed, on {100 * self.missed_boards:.0f} % of boards"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What the boards came to; shares are of all boards but `caught` and `mended`, which are of those with a missed defect."""

    boards: int
    student: Lane
    system: Lane
    expert: Lane
    deferred: float
    audited: float
    caught: float
    mended: float
    latency_ms: float

    def lines(self) -> list[str]:
        """Say it."""
        return [
            f"device alone         {self.student.words()}",
            f"with the region      {self.system.words()}",
            f"expert on each board {self.expert.words()}",
            f"sent: {self.deferred:.1%} of {self.boards} boards as hard cases, {self.audited:.1%} as audit samples",
            f"boards where the device missed a defect: {self.caught:.0%} were sent, {self.mended:.0%} are whole after the answer",
            f"the region's answer after {self.latency_ms:,.0f} ms (median)",
        ]


def parse(data: bytes) -> list[Event]:
    """Read an event file; lines that are no events (a torn end) are left out."""
    decoder, events = msgspec.json.Decoder(Event), []
    for line in data.splitlines():
        try:
            events.append(decoder.decode(line))
        except msgspec.MsgspecError:
            continue
    return events


def boards(events: Sequence[Event], *, start: float, end: float) -> dict[FrameKey, Board]:
    """Return the boards whose first event lies in [start, end) Unix seconds and that have their final event."""
    first: dict[FrameKey, Event] = {}
    last: dict[FrameKey, Event] = {}
    for event in events:
        key = event.stream, event.sequence
        first.setdefault(key, event)
        if event.state == "final":
            last[key] = event
    return {
        key: Board(own=own.objects, final=last[key].objects, action=own.action, source=last[key].source, latency_ms=last[key].latency_ms)
        for key, own in first.items()
        if start <= own.time < end and key in last
    }


def judge(
    seen: Mapping[FrameKey, Board], streams: Mapping[str, Stream], expert: Mapping[str, Sequence[Detections]], labels: Sequence[str]
) -> Figures:
    """Judge what was told of the boards.

    Args:
        seen: the boards.
        streams: the truth by stream.
        expert: what the expert tells, by stream and place, in pixels.
        labels: the classes, in order.
    """
    rows = sorted(seen.items())
    places = [(streams[name], name, number % len(streams[name].truth)) for (name, number), _ in rows]
    truth = [stream.truth[place] for stream, _, place in places]
    own = [_detections(board.own, stream.side, labels) for (_, board), (stream, _, _) in zip(rows, places, strict=True)]
    final = [_detections(board.final, stream.side, labels) for (_, board), (stream, _, _) in zip(rows, places, strict=True)]
    best = [expert[name][place] for _, name, place in places]
    lost = [missed(told, true) > 0 for told, true in zip(own, truth, strict=True)]
    whole = [missed(told, true) == 0 for told, true in zip(final, truth, strict=True)]
    actions = [board.action for _, board in rows]
    return Figures(
        boards=len(rows),
        student=_lane(own, truth),
        system=_lane(final, truth),
        expert=_lane(best, truth),
        deferred=_share([action == "defer" for action in actions]),
        audited=_share([action == "audit" for action in actions]),
        caught=_share([action == "defer" for action, is_lost in zip(actions, lost, strict=True) if is_lost]),
        mended=_share([is_whole for is_whole, is_lost in zip(whole, lost, strict=True) if is_lost]),
        latency_ms=quantile([board.latency_ms for _, board in rows if board.source == "region"], 0.5),
    )


def _lane(told: Sequence[Detections], truth: Sequence[Truth]) -> Lane:
    lost = [missed(one, true) for one, true in zip(told, truth, strict=True)]
    return Lane(
        map_50=mean_average_precision(told, truth),
        missed_defects=sum(lost) / max(1, sum(len(true.classes) for true in truth)),
        missed_boards=_share([count > 0 for count in lost]),
    )


def _detections(told: Sequence[Thing], side: int, labels: Sequence[str]) -> Detections:
    known = [thing for thing in told if thing.label in labels]
    return Detections(
        boxes=np.array([thing.box for thing in known], np.float32).reshape(-1, 4) * side,
        scores=np.array([thing.confidence for thing in known], np.float32),
        classes=np.array([labels.index(thing.label) for thing in known], np.int64),
    )


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / max(1, len(flags))
