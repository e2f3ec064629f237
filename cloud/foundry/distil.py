"""Teaching a student on the cloud's seed set with the expert's soft labels: after a federated round, and from scratch.

After a round the aggregated weights are close to good: a short training on the seed set re-estimates the batch-norm statistics,
which the regions' cameras pulled apart, and reminds the student of what all regions share. Deterministic by seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cloud.foundry import predictions
from cloud.foundry.pictures import Pictures, input_spec
from shared.learning import architectures, arrays
from shared.learning.loop import Progress, Recipe, accuracy, predict, train
from shared.learning.samples import Augmentation, Samples

TUNING_RATE = 1e-4
"""A twentieth of the rate of a training from scratch: a round's gain must not be washed out."""
SOFT_WEIGHT = 0.7


def with_expert(pictures: Pictures, expert: Path | None, *, threads: int = 2) -> Samples:
    """Return a split's samples with the expert's logits; without an expert, its labels teach alone."""
    if expert is None:
        return pictures.samples
    found = predictions.logits(expert, pictures.frames, input_spec(pictures.side), threads=threads)
    return Samples(frames=pictures.frames, labels=pictures.labels, spots=pictures.spots, logits=found)


def distil(
    weights: Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]],
    expert: Path | None,
    pictures: Pictures,
    *,
    steps: int = 60,
    seed: int = 0,
    threads: int = 1,
    turning: bool = True,
    progress: Progress | None = None,
) -> tuple[arrays.Arrays, dict[str, float]]:
    """Tune aggregated weights on the seed set.

    Args:
        weights: the student's arrays after aggregation.
        expert: the expert's ONNX file, or None to learn from labels alone.
        pictures: the seed set.
        steps: optimiser steps of 64 pictures; 0 only measures.
        seed: of order and variation.
        threads: threads of torch; another number, other rounding.
        turning: whether pictures may be turned and put upside down without changing their class.
        progress: told after every step.

    Returns:
        The tuned arrays, and `seed_accuracy_before` and `seed_accuracy` on (at most 1,000 pictures of) the seed set.

    Raises:
        FederationError: the weights do not fit the student.
    """
    model = architectures.student(len(pictures.names), side=pictures.side)
    arrays.from_arrays(model, weights)
    model.eval()
    probe = pictures.evenly(1000)
    before = accuracy(predict(model, probe.frames), probe.labels)
    if steps:
        recipe = Recipe(
            steps=steps,
            rate=TUNING_RATE,
            soft_weight=SOFT_WEIGHT,
            seed=seed,
            threads=threads,
            augmentation=Augmentation(upside_down=turning, quarter_turns=turning, shift_px=max(1, pictures.side // 16)),
        )
        train(model, with_expert(pictures, expert, threads=threads), recipe, progress=progress)
    after = accuracy(predict(model, probe.frames), probe.labels)
    return arrays.to_arrays(model), {"seed_accuracy_before": before, "seed_accuracy": after}


def student_model(
    weights: Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]], *, classes: int, side: int
) -> architectures.Student:
    """Return a student with these weights, ready to be exported.

    Raises:
        FederationError: they do not fit.
    """
    model = architectures.Student(classes, side=side)
    arrays.from_arrays(model, weights)
    model.eval()
    return model
