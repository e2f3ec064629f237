"""Segmentation: the class of every pixel. Decodes a network's maps into predictions and compares them. Class 0 is the background.

Here: what every tier does with a segmentation network's output, in one code. Not here: IoU and Dice (masks), how sure a map looks
(masks.soft_dice_confidence, asked by deferral.reading).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from shared.errors import EngineError
from shared.release.card import Card, InputSpec
from shared.vision.fit import STRETCH, Size, map_on_frame, place_of
from shared.vision.tasks.masks import Map, Output, pixel_counts, pixel_probabilities
from shared.vision.tasks.shapes import pack_map, unpack_map
from shared.wire.messages import Mask, Prediction

SAME = 0.5
"""Intersection over union, of each class that either map has, from which two maps say the same."""


class Segmentation(msgspec.Struct, frozen=True, kw_only=True):
    """The task of a segmentation network's card; see task.Task. `labels` counts the background; without `input` frames have its size."""

    labels: int
    input: InputSpec | None = None

    @classmethod
    def of(cls, card: Card) -> Segmentation:
        """Return the task of a card."""
        return cls(labels=len(card.labels), input=card.input)

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse outputs that are no maps of the card's labels; see `Task.check`."""
        if len(shape) != 4 or (shape[1] != self.labels and not (shape[1] == 1 and self.labels == 2)):
            raise EngineError(
                f"outputs of shape {list(shape)} are no maps of {self.labels} labels.",
                f"Export (N, {self.labels}, height, width) logits, or one channel for background and one class.",
            )

    def decode(self, outputs: Output, sizes: Sequence[Size] | None = None) -> list[Prediction]:
        """Return one prediction per frame; see `Task.decode`."""
        return self.told(self.on_frames(self.probabilities(outputs), sizes))

    def probabilities(self, outputs: Output) -> Output:
        """Return the probability of each class for each pixel, float32 (N, C, height, width).

        Raises:
            EngineError: the outputs do not fit the card, or are not finite.
        """
        self.check(outputs.shape)
        if not math.isfinite(outputs.sum()):
            raise EngineError("the model answered with maps that are not finite.", "The release is unusable; fall back.")
        return pixel_probabilities(outputs)

    def on_frames(self, probabilities: Output, sizes: Sequence[Size] | None) -> Sequence[Output]:
        """Return each frame's map of probabilities (C, rows, columns) over the frame, of maps over the network's input.

        Args:
            probabilities: float32 (N, C, height, width).
            sizes: of the frames, as for `Task.decode`.
        """
        spec = self.input
        if sizes is None or spec is None or spec.fit == STRETCH:
            return list(probabilities)
        return [map_on_frame(one, place_of(size, spec)) for one, size in zip(probabilities, sizes, strict=True)]

    def told(self, probabilities: Sequence[Output]) -> list[Prediction]:
        """Return the predictions of maps of probabilities, (C, rows, columns) each."""
        return [self._predict(one.argmax(axis=0)) for one in probabilities]

    def outline(self, outputs: Output) -> Output:
        """Return the mean probability of each class over the frame, float32 (N, C); see `Task.outline`."""
        return np.asarray(self.probabilities(outputs).mean(axis=(2, 3)), np.float32)

    def _predict(self, classes: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Prediction:
        shares = np.bincount(classes.reshape(-1), minlength=self.labels) / classes.size
        index = int(shares[1:].argmax()) + 1 if shares[1:].any() else 0
        return Prediction(index=index, probabilities=tuple(shares.astype(np.float32).tolist()), mask=pack_map(classes))


def same_areas(one: Mask, other: Mask, *, threshold: float = SAME) -> bool:
    """Tell whether two maps say the same: every class but the background that either has overlaps by at least the threshold.

    Maps of different sizes are compared at the smaller one's.

    Raises:
        ProtocolError: one cannot be read.
    """
    mine, theirs = unpack_map(one), unpack_map(other)
    height, width = min(mine.shape[0], theirs.shape[0]), min(mine.shape[1], theirs.shape[1])
    mine, theirs = _at(mine, height, width), _at(theirs, height, width)
    most = int(max(mine.max(), theirs.max())) + 1
    if most > 1024:
        return bool((mine == theirs).all())
    counts = pixel_counts(mine, theirs, classes=most)
    common = np.diagonal(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - common
    return bool((common[1:] >= threshold * union[1:]).all())


def _at(classes: Map, height: int, width: int) -> Map:
    rows = (np.arange(height) * classes.shape[0]) // height
    columns = (np.arange(width) * classes.shape[1]) // width
    return classes[rows[:, None], columns[None]]
