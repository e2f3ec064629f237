"""What every tier asks of a task, and which task a card has.

A task knows what the outputs of its networks mean: `check` their shape, `decode` them into predictions, `outline` them in one figure per
class, and say whether two predictions `agrees`. How sure a prediction is stands in deferral; drawing and storing it elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from shared.errors import EngineError, ProtocolError
from shared.release.card import Card
from shared.vision.fit import Size
from shared.vision.tasks.classification import Classification
from shared.vision.tasks.detection import Detection, same_objects
from shared.vision.tasks.segmentation import Segmentation, same_areas
from shared.wire.messages import Prediction

Outputs = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
CLASSIFICATION, DETECTION, SEGMENTATION = "classification", "detection", "segmentation"
TASKS = (CLASSIFICATION, DETECTION, SEGMENTATION)


class Task(Protocol):
    """The meaning of one card's outputs."""

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse a network whose outputs of this shape are not what its card says.

        Raises:
            EngineError: they do not fit the task or the number of labels.
        """

    def decode(self, outputs: Outputs, sizes: Sequence[Size] | None = None) -> list[Prediction]:
        """Return one prediction per frame; what it says of places is in shares of the frame.

        Args:
            outputs: the network's.
            sizes: height and width of each frame before it was brought into the network's input (see vision.fit); None where the
                frames have the input's size.

        Raises:
            EngineError: the outputs do not fit the card, or are not finite.
        """

    def outline(self, outputs: Outputs) -> Outputs:
        """Return one figure per frame and class, float32 (N, C): what a self-test compares. A classifier's are its logits."""


def task_of(card: Card) -> Task:
    """Return the task of a card.

    Raises:
        EngineError: this agent does not know it.
    """
    if card.task == CLASSIFICATION:
        return Classification(labels=len(card.labels))
    if card.task == DETECTION:
        return Detection.of(card)
    if card.task == SEGMENTATION:
        return Segmentation.of(card)
    raise EngineError(f"there is no task {card.task!r}.", f"This agent knows {', '.join(TASKS)}; update it, or use another release.")


def is_classification(prediction: Prediction) -> bool:
    """Tell whether a prediction is a class of the whole frame and nothing more."""
    return prediction.boxes is None and prediction.mask is None


def agrees(one: Prediction, other: Prediction) -> bool:
    """Tell whether two predictions of one frame say the same: the class, the same objects, or nearly the same areas.

    Predictions of different tasks, and ones that cannot be read, never agree.
    """
    if (one.boxes is None) != (other.boxes is None) or (one.mask is None) != (other.mask is None):
        return False
    try:
        if one.boxes is not None and other.boxes is not None:
            return same_objects(one.boxes, other.boxes)
        if one.mask is not None and other.mask is not None:
            return same_areas(one.mask, other.mask)
    except ProtocolError:
        return False
    return one.index == other.index
