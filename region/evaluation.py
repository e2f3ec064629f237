"""Evaluation in the region: a candidate against the current student, both on the same cases with a known answer.

There are two sets: held-out audit cases with the expert's answers, and the cases people labelled with their labels.

What leaves are counts per class, per score bin and per unit; units lose their names. Cases of the evaluation split are audit samples
of units never trained on, so the counts are neither biased by the policy nor flattered by training.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from region.cases import StoredCase
from region.tally import Classes, HeldOut, Values
from shared.deferral import scores, second
from shared.engines.base import Engine
from shared.engines.onnx import OnnxEngine
from shared.errors import EngineError, InputError
from shared.release.card import Card
from shared.vision import picture
from shared.vision.preprocess import fitted, prepare
from shared.vision.tasks.task import CLASSIFICATION, is_classification

BATCH = 32


def held_out(cases: Iterable[StoredCase], card: Card) -> HeldOut:
    """Return the answered cases that can be decoded, with the expert's answers as the truth; see `judged`."""
    return judged(((case, case.answer.index) for case in cases if case.answer is not None and is_classification(case.answer)), card)


def judged(cases: Iterable[tuple[StoredCase, int]], card: Card) -> HeldOut:
    """Return the cases that can be decoded, at the size the card asks for, with their true classes.

    Units are numbered in order of appearance; cases of a class the card does not know are left out.
    """
    frames, truth, units = [], [], []
    numbers: dict[tuple[str, str, str], int] = {}
    for case, label in cases:
        if not 0 <= label < len(card.labels):
            continue
        try:
            pixels = picture.decode(case.case.picture)
        except InputError:
            continue  # damaged on its way; it is nobody's mistake to count
        frames.append(fitted(pixels[None], card.input)[0])
        truth.append(label)
        units.append(numbers.setdefault((case.device, case.case.stream, case.case.unit), len(numbers)))
    shape = (0, card.input.height, card.input.width, 3)
    return HeldOut(
        frames=np.stack(frames) if frames else np.empty(shape, np.uint8),
        truth=np.asarray(truth, np.int64),
        units=np.asarray(units, np.int64),
    )


def run(path: Path, card: Card, cases: HeldOut, *, threads: int) -> tuple[Classes, Values]:
    """Run a model over the cases.

    Args:
        path: the ONNX file.
        card: its card; says the input and the score.
        cases: what to run on.
        threads: of the engine.

    Returns:
        Predicted class and deferral score of each case.

    Raises:
        EngineError: the model cannot be loaded or run.
    """
    if card.task != CLASSIFICATION:
        raise EngineError(f"a region judges no model for {card.task}.", "Judge it where it was trained; regions run it all the same.")
    engine: Engine = OnnxEngine(path, threads=threads).load()
    try:
        batches = (prepare(cases.frames[start : start + BATCH], card.input) for start in range(0, len(cases.truth), BATCH))
        parts = [second.answered(engine.run, batch, card.second_look) for batch in batches]
    finally:
        engine.close()
    logits = np.concatenate(parts) if parts else np.empty((0, len(card.labels)), np.float32)
    return logits.argmax(axis=1).astype(np.int64), np.asarray(scores.of(card.calibration)(logits), np.float64)
