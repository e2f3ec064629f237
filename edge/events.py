"""What a line or a PLC receives about one frame: its event, as one JSON object. Pure.

A frame whose local answer stands has one event (`final`, source edge). One that awaits the region's answer (deferred, or drawn for
audit where it would have been deferred) has two: `provisional` from the edge at once, then `final` from the region, or `final` with
source `expired` and the edge's own prediction at the deadline. One that inherits the answer to another frame's case (source `inherited`)
has one where that answer is there already, else two.
"""

from __future__ import annotations

import msgspec
import numpy as np

from shared.deferral.policy import Action, Decision
from shared.errors import ProtocolError
from shared.vision.crops import Part, merged
from shared.vision.frames import Frame
from shared.vision.tasks.detection import prediction_of
from shared.vision.tasks.shapes import pack_boxes, tracks_of, unpack_boxes
from shared.wire.messages import Answer, Boxes, Prediction

_NO_PIXELS = np.zeros((0, 0, 3), np.uint8)


class Object(msgspec.Struct, frozen=True, kw_only=True):
    """An object in a frame: `box` is x0, y0, x1, y1 in shares of the frame's width and height, `track` its number in the stream or -1."""

    label: str
    confidence: float
    box: tuple[float, float, float, float]
    track: int = -1


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event.

    `sequence` is the frame's number, `time` when it was captured and `deadline` by when it is final (Unix seconds); `release` is the
    student's, `expert_release` the expert's where it answered; `latency_ms` counts from the frame's arrival. `objects` are there for
    detection only (`index` and `label` are then the surest one's), `areas` for segmentation only: the share of the frame of each class;
    `threshold` is what `score` was compared with (null: nothing); `inherited_from` is the sequence of the frame of the same stream whose
    case's answer this frame inherits.
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
    objects: tuple[Object, ...] | msgspec.UnsetType = msgspec.UNSET
    areas: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    threshold: float | None = None
    inherited_from: int | msgspec.UnsetType = msgspec.UNSET

    @property
    def names(self) -> tuple[str, ...]:
        """Every label it names: its own, those of its objects, those of its areas but the background (the first label)."""
        objects = () if isinstance(self.objects, msgspec.UnsetType) else tuple(one.label for one in self.objects)
        areas = () if isinstance(self.areas, msgspec.UnsetType) else tuple(name for name, share in [*self.areas.items()][1:] if share > 0)
        return (self.label, *objects, *areas)


class Inherited(msgspec.Struct, frozen=True, kw_only=True):
    """Whose answer a frame inherits: a frame of the same stream, the part of it that was sent, and the answer where it has come."""

    frame: int
    part: Part | None
    answer: Answer | None


class Inferred(msgspec.Struct, frozen=True, kw_only=True):
    """A frame with the device's answer and what the policy decided on it.

    `labels` and `release` are the model's; `part` is where a detector is uncertain, None for everywhere; `inherits` says whose answer
    takes the place of the device's own, None for nobody's.
    """

    frame: Frame
    prediction: Prediction
    decision: Decision
    release: int
    labels: tuple[str, ...]
    deadline_s: float
    part: Part | None = None
    inherits: Inherited | None = None

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


def inherited_event(inferred: Inferred, prediction: Prediction, *, expert_release: int, now: float) -> Event:
    """Return the final event with the expert's prediction on another frame."""
    return _event(inferred, prediction, state="final", source="inherited", now=now, expert_release=expert_release)


def check_answer(answer: Prediction) -> None:
    """Look whether an event can be made of an answer.

    Raises:
        ProtocolError: the answer cannot be read.
    """
    if answer.index < 0:
        raise ProtocolError(f"an answer names class {answer.index}.")
    if answer.boxes is not None:
        unpack_boxes(answer.boxes)


def whole_answer(inferred: Inferred, answer: Prediction) -> Prediction:
    """Return what a frame shows after the expert's answer to what was sent of it, or of the frame it inherits from.

    Raises:
        ProtocolError: the answer cannot be read.
    """
    check_answer(answer)
    own = inferred.prediction.boxes
    part = sent_part(inferred) if inferred.inherits is None else inferred.inherits.part
    if answer.boxes is None or own is None or part is None:
        return answer
    found = merged(unpack_boxes(own), unpack_boxes(answer.boxes), part)
    highest = np.zeros(len(inferred.labels), np.float32)
    known = found.classes < len(highest)
    np.maximum.at(highest, found.classes[known], found.scores[known])
    return prediction_of(found, pack_boxes(found, width=1.0, height=1.0), highest)


def sent_part(inferred: Inferred) -> Part | None:
    """Return which part of a frame is sent to the region, None for the whole: an audit sample is always whole."""
    return inferred.part if inferred.decision.action is Action.DEFER else None


def without_picture(inferred: Inferred) -> Inferred:
    """Return what events are made of: the frame with its answer, but not its pixels, which weigh megabytes."""
    return msgspec.structs.replace(inferred, frame=msgspec.structs.replace(inferred.frame, pixels=_NO_PIXELS, whole=None))


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
        objects=msgspec.UNSET if prediction.boxes is None else _objects(prediction.boxes, inferred.labels),
        areas=msgspec.UNSET if prediction.mask is None else dict(zip(inferred.labels, prediction.probabilities, strict=False)),
        threshold=decision.threshold,
        inherited_from=msgspec.UNSET if inferred.inherits is None else inferred.inherits.frame,
    )


def _objects(boxes: Boxes, labels: tuple[str, ...]) -> tuple[Object, ...]:
    found, tracks = unpack_boxes(boxes), tracks_of(boxes)
    rows = zip(found.classes.tolist(), found.scores.tolist(), found.boxes.tolist(), tracks.tolist(), strict=True)
    return tuple(
        Object(label=labels[number] if number < len(labels) else "", confidence=round(score, 4), box=_rounded(box), track=track)
        for number, score, box, track in rows
    )


def _rounded(box: list[float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (round(share, 4) for share in box)
    return left, top, right, bottom
