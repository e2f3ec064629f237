"""What the page is told beside a picture: the device's answer, the policy's decision, objects, the optics, late answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from edge.events import Event, Inferred
from edge.preview.optics import Optics
from shared.errors import ProtocolError
from shared.vision.tasks.shapes import unpack_boxes

MOST_BOXES = 50


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """One object; `place` is left, top, right, bottom as shares of the picture."""

    place: tuple[float, float, float, float]
    label: str
    score: float


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One picture's words; `age_s` counts from the frame's arrival, `events` are the stream's last ones, newest first."""

    stream: str
    sequence: int
    age_s: float
    width: int
    height: int
    label: str
    confidence: float
    action: str
    reason: str
    score: float
    threshold: float | None
    release: int
    unit: str
    boxes: tuple[Box, ...]
    optics: Optics
    events: tuple[dict[str, Any], ...]


def view(inferred: Inferred, optics: Optics, events: Sequence[Event], *, size: tuple[int, int], now: float) -> View:
    """Return the words.

    Args:
        inferred: the frame with its answer.
        optics: of the picture that is shown.
        events: the stream's last, newest first.
        size: width and height of the frame, pixels.
        now: monotonic seconds.
    """
    frame, decision, prediction = inferred.frame, inferred.decision, inferred.prediction
    index = prediction.index
    return View(
        stream=frame.stream,
        sequence=frame.number,
        age_s=now - frame.arrived_at,
        width=size[0],
        height=size[1],
        label=label_of(inferred.labels, index),
        confidence=prediction.probabilities[index] if index < len(prediction.probabilities) else 0.0,
        action=decision.action.value,
        reason=decision.reason,
        score=decision.score,
        threshold=decision.threshold,
        release=inferred.release,
        unit=frame.unit,
        boxes=boxes_of(inferred),
        optics=optics,
        events=tuple(_brief(event) for event in events),
    )


def boxes_of(inferred: Inferred) -> tuple[Box, ...]:
    """Return the surest objects of a frame, none where its task has none."""
    if inferred.prediction.boxes is None:
        return ()
    try:
        found = unpack_boxes(inferred.prediction.boxes)
    except ProtocolError:
        return ()
    surest = np.argsort(-found.scores)[:MOST_BOXES]
    return tuple(
        Box(
            place=(float(found.boxes[i, 0]), float(found.boxes[i, 1]), float(found.boxes[i, 2]), float(found.boxes[i, 3])),
            label=label_of(inferred.labels, int(found.classes[i])),
            score=float(found.scores[i]),
        )
        for i in surest
    )


def label_of(labels: Sequence[str], index: int) -> str:
    """Return a class's label, its number where it has none."""
    return labels[index] if 0 <= index < len(labels) else str(index)


def encode(words: View) -> str:
    """Return the words as ASCII JSON for a header; what is not finite becomes null."""
    text = msgspec.json.encode(words).decode()
    return "".join(letter if letter.isascii() else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    pairs = letter.encode("utf-16-be")
    return "".join(f"\\u{pairs[at]:02x}{pairs[at + 1]:02x}" for at in range(0, len(pairs), 2))


def _brief(event: Event) -> dict[str, Any]:
    return {
        "sequence": event.sequence,
        "state": event.state,
        "label": event.label,
        "confidence": event.confidence,
        "source": event.source,
        "latency_ms": event.latency_ms,
    }
