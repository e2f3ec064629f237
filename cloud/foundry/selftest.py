"""A card's self-test: a few pictures and the logits the model gives on them. Pure.

The pictures come from the calibration split (generator or seed set, never a vault), one per class first, the surest ones: a device
whose arithmetic differs in the last bit must pass, one that runs another model must not.
"""

from __future__ import annotations

import numpy as np

from shared.deferral.scores import SCORES
from shared.learning.samples import Frames, Labels, Logits
from shared.release.card import SelfTest, pack_inputs

COUNT = 4
TOLERANCE_SHARE = 0.04
"""Of the logits' span; machines differ in how they round at re-quantisation, by less than half of this."""

LEAST_TOLERANCE = 0.01
"""Of figures that are probabilities, where they span little."""


def self_test(frames: Frames, labels: Labels, logits: Logits) -> SelfTest:
    """Return the self-test.

    Args:
        frames: candidates, uint8 (N, H, W, 3).
        labels: int64 (N).
        logits: what the model gives on all of them, float32 (N, C).
    """
    picked = chosen(labels, logits)
    return packed(frames[picked], logits[picked])


def packed(inputs: Frames, wanted: Logits) -> SelfTest:
    """Return a self-test of these pictures, uint8 (N, H, W, 3), and what the model gives on them, float32 (N, C)."""
    tolerance = float(wanted.max() - wanted.min()) * TOLERANCE_SHARE
    return SelfTest(
        shape=(len(inputs), inputs.shape[1], inputs.shape[2], inputs.shape[3]),
        inputs=pack_inputs(inputs),
        logits=tuple(tuple(float(value) for value in row) for row in wanted),
        tolerance=tolerance,
    )


def recorded(figures: Logits, frames: Frames) -> SelfTest:
    """Return the self-test of a network whose answers are no logits.

    Args:
        figures: its task's outline of each answer, float32 (N, C).
        frames: the pictures, uint8 (N, H, W, 3).
    """
    count, height, width, channels = frames.shape
    return SelfTest(
        shape=(count, height, width, channels),
        inputs=pack_inputs(frames),
        logits=tuple(tuple(float(value) for value in row) for row in figures),
        tolerance=max(LEAST_TOLERANCE, float(figures.max() - figures.min()) * TOLERANCE_SHARE),
    )


def chosen(labels: Labels, logits: Logits, count: int = COUNT) -> list[int]:
    """Return the indices of the surest right answers, of different classes as long as there are any."""
    right = np.flatnonzero(logits.argmax(axis=1) == labels)
    order = right[np.argsort(-SCORES["margin"](logits[right]), kind="stable")] if len(right) >= count else np.arange(len(labels))
    firsts = [int(order[labels[order] == label][0]) for label in np.unique(labels[order])]
    rest = [int(index) for index in order if int(index) not in firsts]
    return (sorted(firsts, key=lambda index: int(np.flatnonzero(order == index)[0])) + rest)[:count]
