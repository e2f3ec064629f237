"""From a network's outputs to predictions and how sure each looks, for every task: what a card says, put together once per model. Pure.

    reader = reader_of(card)
    reading = reader(engine.run(batch), sizes)      one prediction and one score per frame

Here: which score belongs to a task, and its fallback where the card names none that this agent knows (`is_known` says so: a threshold that
was fitted for another score means nothing). Not here: the scores (scores, missed, masks), the decision (policy).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np

from shared.deferral import missed, scores
from shared.deferral.scores import SCORES
from shared.errors import EngineError
from shared.release.card import Card
from shared.vision.boxes import Detections
from shared.vision.fit import Size
from shared.vision.tasks.classification import decode, prediction
from shared.vision.tasks.detection import Detection
from shared.vision.tasks.masks import soft_dice_confidence
from shared.vision.tasks.segmentation import Segmentation
from shared.vision.tasks.task import CLASSIFICATION, DETECTION, SEGMENTATION
from shared.wire.messages import Prediction

Outputs = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
SOFT_DICE = "soft_dice"
DEFAULTS = {CLASSIFICATION: "margin", DETECTION: missed.DEFAULT, SEGMENTATION: SOFT_DICE}
"""The score of each task where a card names none."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch says, frame by frame.

    `candidates` are there for detection only: down to the doubt threshold, in pixels of the frame stretched to the network's input.
    """

    predictions: list[Prediction]
    scores: list[float]
    candidates: list[Detections] | None = None


class Reader(Protocol):
    """Reads a network's outputs; `sizes` are the frames' heights and widths, None where they have the input's (see `Task.decode`)."""

    def __call__(self, outputs: Outputs, sizes: Sequence[Size] | None = None) -> Reading:
        """Return what the outputs say.

        Raises:
            EngineError: they do not fit the card, or are not finite.
        """


def names_of(task: str) -> tuple[str, ...]:
    """Return the scores that a card of this task may name."""
    return {CLASSIFICATION: tuple(SCORES), DETECTION: tuple(missed.SCORES), SEGMENTATION: (SOFT_DICE,)}.get(task, ())


def score_name(card: Card) -> str:
    """Return the score a card's frames get: the one it was calibrated for, else the task's own."""
    return card.calibration.score if card.calibration and is_known(card) else DEFAULTS.get(card.task, "margin")


def is_known(card: Card) -> bool:
    """Tell whether the card is calibrated for a score that this agent has for its task."""
    if card.task == CLASSIFICATION:
        return scores.is_known(card.calibration)
    return card.calibration is not None and card.calibration.score in names_of(card.task)


def reader_of(card: Card) -> Reader:
    """Return what reads the outputs of a card's network.

    Raises:
        EngineError: this agent does not know the card's task.
        TrustError: the card's learned score does not fit it.
    """
    makers = {CLASSIFICATION: _classes, DETECTION: _objects, SEGMENTATION: _areas}
    if card.task not in makers:
        raise EngineError(f"there is no task {card.task!r}.", f"This agent knows {', '.join(makers)}; update it, or use another release.")
    return makers[card.task](card, score_name(card))


def _classes(card: Card, _name: str) -> Reader:
    scores.check(card)
    score = scores.of(card.calibration)

    def read(outputs: Outputs, sizes: Sequence[Size] | None = None) -> Reading:  # noqa: ARG001 - a class has no place
        if score is scores.margin and outputs.ndim == 2 and outputs.shape[1] > 1 and outputs.size <= scores.SMALL:
            rows = outputs.tolist()
            return Reading(predictions=[prediction(row) for row in rows], scores=[scores.row_margin(row) for row in rows])
        return Reading(predictions=decode(outputs), scores=score(outputs).tolist())

    return read


def _objects(card: Card, name: str) -> Reader:
    task, score = Detection.of(card), missed.SCORES[name]

    def read(outputs: Outputs, sizes: Sequence[Size] | None = None) -> Reading:
        found = task.candidates(outputs, sizes)
        seen = [missed.Candidates(scores=one.scores, threshold=task.spec.score_threshold) for one in found]
        return Reading(predictions=[task.prediction(one) for one in found], scores=[score(one) for one in seen], candidates=found)

    return read


def _areas(card: Card, _name: str) -> Reader:
    task = Segmentation.of(card)

    def read(outputs: Outputs, sizes: Sequence[Size] | None = None) -> Reading:
        probabilities = task.on_frames(task.probabilities(outputs), sizes)
        return Reading(predictions=task.told(probabilities), scores=soft_dice_confidence(probabilities).tolist())

    return read
