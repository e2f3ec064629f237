"""What a line or a PLC receives about one frame: its event, as one JSON object. Pure.

A frame whose local answer stands has one event (`final`, source edge). One that awaits the region's answer (deferred, or drawn for
audit where it would have been deferred) has two: `provisional` from the edge at once, then `final` from the region, or `final` with
source `expired` and the edge's own prediction at the deadline.
"""

from __future__ import annotations

import msgspec

from shared.deferral.policy import Decision
from shared.vision.frames import Frame
from shared.wire.messages import Prediction


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event.

    `sequence` is the frame's number, `time` when it was captured and `deadline` by when it is final (Unix seconds); `release` is the
    student's, `expert_release` the expert's where it answered; `latency_ms` counts from the frame's arrival.
    """

    stream: str
    sequence: int
    time: float
    state: str
    index: int
    label: str
    confidence: float
    source: str
    action: str
    reason: str
    score: float
    release: int
    deadline: float
    latency_ms: float
    unit: str = ""
    expert_release: int = 0


class Inferred(msgspec.Struct, frozen=True, kw_only=True):
    """A frame with the device's answer and what the policy decided on it; `labels` and `release` are the model's."""

    frame: Frame
    prediction: Prediction
    decision: Decision
    release: int
    labels: tuple[str, ...]
    deadline_s: float

    @property
    def key(self) -> tuple[str, int]:
        """What names the frame: stream and number."""
        return self.frame.stream, self.frame.number

    @property
    def due(self) -> float:
        """When its event must be final, on the monotonic clock."""
        return self.frame.arrived_at + self.deadline_s


def local_event(inferred: Inferred, *, state: str, now: float, source: str = "edge") -> Event:
    """Return the event with the device's own prediction.

    Args:
        inferred: the frame.
        state: provisional or final.
        now: monotonic seconds.
        source: edge, or expired when the deadline passed without an answer.
    """
    return _event(inferred, inferred.prediction, state=state, source=source, now=now, expert_release=0)


def answered_event(inferred: Inferred, prediction: Prediction, *, expert_release: int, now: float) -> Event:
    """Return the final event with the expert's prediction."""
    return _event(inferred, prediction, state="final", source="region", now=now, expert_release=expert_release)


def encode(event: Event) -> bytes:
    """Return the event as one line of JSON, with its newline; numbers that are not finite become null."""
    return msgspec.json.encode(event) + b"\n"


def _event(inferred: Inferred, prediction: Prediction, *, state: str, source: str, now: float, expert_release: int) -> Event:
    frame, decision, index = inferred.frame, inferred.decision, prediction.index
    return Event(
        stream=frame.stream,
        sequence=frame.number,
        time=frame.captured_at,
        state=state,
        index=index,
        label=inferred.labels[index] if index < len(inferred.labels) else "",
        confidence=prediction.probabilities[index] if index < len(prediction.probabilities) else 0.0,
        source=source,
        action=decision.action.value,
        reason=decision.reason,
        score=decision.score,
        release=inferred.release,
        deadline=frame.captured_at + inferred.deadline_s,
        latency_ms=1000.0 * (now - frame.arrived_at),
        unit=frame.unit,
        expert_release=expert_release,
    )
