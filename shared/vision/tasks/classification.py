"""Classification: one label per frame. Decodes logits into predictions and computes the figures of merit.

Here: what every tier does with a classifier's output, in one code. Not here: how sure a prediction is (deferral.scores).

Example:
    >>> decode(np.array([[0.0, 2.0]], np.float32))[0].index
    1
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import exp

import msgspec
import numpy as np

from shared.errors import EngineError
from shared.vision.fit import Size
from shared.vision.tasks.logits import Classes, Logits, Values, accuracy, predicted, softmax
from shared.wire.messages import Prediction

__all__ = ["Classification", "accuracy", "class_recall", "confusion", "decode", "predicted", "softmax"]


class Classification(msgspec.Struct, frozen=True, kw_only=True):
    """The task of a classifier's card; see task.Task."""

    labels: int

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse outputs that are not one logit per label; see `Task.check`."""
        if len(shape) != 2 or shape[1] != self.labels:
            raise EngineError(f"outputs of shape {list(shape)} are not one logit for each of the card's {self.labels} labels.")

    def decode(self, outputs: Logits, sizes: Sequence[Size] | None = None) -> list[Prediction]:  # noqa: ARG002 - a class has no place
        """Return one prediction per frame; see `Task.decode`."""
        return decode(outputs)

    def outline(self, outputs: Logits) -> Logits:
        """Return the logits themselves; see `Task.outline`."""
        return outputs


def decode(logits: Logits) -> list[Prediction]:
    """Turn logits into predictions.

    Args:
        logits: shape (N, C).

    Returns:
        One prediction per row, with the softmax over all classes, in single precision as the network's own numbers: what lies beyond
        is noise that no compression takes away.
    """
    return [prediction(row) for row in logits.tolist()]


def prediction(row: list[float]) -> Prediction:
    """Return the prediction of one row of logits.

    Softmax in plain Python: on a device with a handful of classes, numpy's eight calls cost three times as much.
    """
    highest = max(row)
    weights = [exp(value - highest) for value in row]
    total = sum(weights)
    return Prediction(index=row.index(highest), probabilities=tuple(array("f", [weight / total for weight in weights])))


def confusion(predictions: Classes, labels: Classes, classes: int) -> Classes:
    """Count predictions by true class.

    Args:
        predictions: int64, shape (N).
        labels: int64, shape (N).
        classes: how many classes there are.

    Returns:
        int64, shape (classes, classes): row is the label, column the prediction.
    """
    flat = np.bincount(labels * classes + predictions, minlength=classes * classes)
    return flat.reshape(classes, classes)


def class_recall(counts: Classes) -> Values:
    """Return the recall per class of a confusion matrix, float64 of shape (C); NaN for a class without frames."""
    totals = counts.sum(axis=1).astype(np.float64)
    totals[totals == 0] = np.nan
    return np.asarray(np.diagonal(counts) / totals)
