"""Detection: objects with boxes. Decodes a detector's outputs into predictions, and joins or compares them.

Here: what every tier does with a detector's output, in one code. Not here: layouts of heads (heads), figures of merit (precision),
how sure a frame looks (deferral.missed).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from shared.errors import EngineError
from shared.release.card import Card, DetectionSpec, InputSpec
from shared.vision.boxes import Classes, Detections
from shared.vision.fit import STRETCH, Size, on_frame, place_of
from shared.vision.tasks.heads import BOXES, Output, as_rows, class_scores, decode_yolo, head_of
from shared.vision.tasks.precision import Truth, matched, mean_average_precision
from shared.vision.tasks.shapes import pack_boxes, unpack_boxes
from shared.wire.messages import Boxes, Prediction

__all__ = ["Detection", "Detections", "Truth", "decode_yolo", "matched", "mean_average_precision", "prediction_of", "same_objects"]
SAME = 0.5
"""Overlap from which two boxes are the same object."""


class Detection(msgspec.Struct, frozen=True, kw_only=True):
    """The task of a detector's card; see task.Task."""

    labels: int
    input: InputSpec
    spec: DetectionSpec

    @classmethod
    def of(cls, card: Card) -> Detection:
        """Return the task of a card, with the usual thresholds where it names none."""
        return cls(labels=len(card.labels), input=card.input, spec=card.detection or DetectionSpec())

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse outputs that are no detection head for the card's labels; see `Task.check`."""
        as_rows(np.zeros(shape, np.float32), labels=self.labels, head=self._head(shape))

    def candidates(self, outputs: Output, sizes: Sequence[Size] | None = None) -> list[Detections]:
        """Return everything that reaches the doubt threshold, the surest first, in pixels of the frame stretched to the input's size.

        Args:
            outputs: the network's.
            sizes: of the frames, as for `Task.decode`.

        Raises:
            EngineError: the outputs fit no head for the card's labels, or are not finite.
        """
        found = decode_yolo(
            outputs,
            labels=self.labels,
            score_threshold=min(self.spec.doubt_threshold, self.spec.score_threshold),
            iou_threshold=self.spec.iou_threshold,
            most=self.spec.most,
            head=self._head(outputs.shape),
        )
        if sizes is None or self.input.fit == STRETCH:
            return found
        return [on_frame(one, place_of(size, self.input)) for one, size in zip(found, sizes, strict=True)]

    def decode(self, outputs: Output, sizes: Sequence[Size] | None = None) -> list[Prediction]:
        """Return one prediction per frame; see `Task.decode`."""
        return [self.prediction(candidates) for candidates in self.candidates(outputs, sizes)]

    def prediction(self, candidates: Detections, tracks: Classes | None = None) -> Prediction:
        """Return what is told of a frame: the candidates that reach the card's threshold.

        Args:
            candidates: of one frame, in pixels of the frame stretched to the input's size.
            tracks: the number of each told object in its stream, if it has one.
        """
        told = candidates.take(candidates.scores >= self.spec.score_threshold)
        highest = np.zeros(self.labels, np.float32)
        np.maximum.at(highest, candidates.classes, candidates.scores)
        boxes = pack_boxes(told, width=self.input.width, height=self.input.height, tracks=tracks)
        return prediction_of(told, boxes, highest)

    def outline(self, outputs: Output) -> Output:
        """Return the highest score of each class, float32 (N, C); see `Task.outline`."""
        head = self._head(outputs.shape) or head_of(outputs.shape, self.labels)
        rows = as_rows(outputs, labels=self.labels, head=head)
        if head != BOXES:
            return np.asarray(class_scores(rows, head).max(axis=1), np.float32)
        mine = rows[..., 5][..., None] == np.arange(self.labels)
        return np.asarray((rows[..., 4][..., None] * mine).max(axis=1), np.float32)

    def _head(self, shape: tuple[int, ...]) -> str | None:
        if len(shape) != 3:
            raise EngineError(
                f"outputs of shape {list(shape)} are no detection head.", "The card says task detection; use another release."
            )
        return self.spec.head or None


def prediction_of(told: Detections, boxes: Boxes, highest: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Prediction:
    """Return a frame's prediction from its objects, the same as they travel, and the highest score of each class."""
    index = int(told.classes[told.scores.argmax()]) if len(told) else len(highest)
    return Prediction(index=index, probabilities=tuple(highest.tolist()), boxes=boxes)


def same_objects(one: Boxes, other: Boxes, *, threshold: float = SAME) -> bool:
    """Tell whether two answers name the same objects: each has its partner of the same class with at least that overlap.

    Raises:
        ProtocolError: the columns of one cannot be read.
    """
    mine, theirs = unpack_boxes(one), unpack_boxes(other)
    if len(mine) != len(theirs):
        return False
    hits, _ = matched(mine, Truth(boxes=theirs.boxes, classes=theirs.classes), threshold=threshold)
    return bool(hits.all())
