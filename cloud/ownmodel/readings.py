"""What a release says of the user's pictures, read by the very code of the devices: predictions on the frame, scores, candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from shared.deferral import second
from shared.deferral.reading import Reading, reader_of
from shared.engines.onnx import OnnxEngine
from shared.learning.samples import Frames
from shared.release.card import Card
from shared.vision.fit import Size
from shared.vision.preprocess import prepare

BATCH = 8


Batch = tuple[Frames, Sequence[Size]]
"""Pictures as they lie in a network's input, uint8 (N, H, W, 3), and their own heights and widths."""


def of(file: Path, card: Card, batches: Iterable[Batch], *, say: Callable[[int], None] = lambda _: None) -> Reading:
    """Return what a model says of pictures.

    Args:
        file: the model.
        card: its card, or one that is to be.
        batches: the pictures, some at a time.
        say: told how many are done.

    Raises:
        EngineError: the model does not fit the card, or answers what is not finite.
    """
    read, engine = reader_of(card), OnnxEngine(file, threads=2)
    parts = []
    try:
        for frames, sizes in batches:
            batch = prepare(frames, card.input)
            parts.append(read(second.answered(engine.run, batch, card.second_look), sizes))
            say(sum(len(part.predictions) for part in parts))
    finally:
        engine.close()
    return Reading(
        predictions=[one for part in parts for one in part.predictions],
        scores=[one for part in parts for one in part.scores],
        candidates=None if any(part.candidates is None for part in parts) else [one for part in parts for one in part.candidates or ()],
    )


def cut(frames: Frames, sizes: Sequence[Size]) -> Iterator[Batch]:
    """Yield pictures that are at hand in batches.

    Args:
        frames: uint8 (N, H, W, 3), also from the disk as they are looked at.
        sizes: their own heights and widths.
    """
    for start in range(0, len(frames), BATCH):
        yield np.asarray(frames[start : start + BATCH]), sizes[start : start + BATCH]
