"""The replay set: seed pictures with the expert's answers, which regions mix into their training so that nothing is forgotten."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cloud.foundry import predictions
from cloud.foundry.pictures import input_spec, load

MOST = 600


def write_replay(seed: Path, expert: Path, out: Path, *, most: int = MOST) -> int:
    """Write a replay set: `frames`, `labels`, `units`, `names` and the expert's `logits` float32 (N, C).

    Args:
        seed: the seed split, .npz.
        expert: the expert's ONNX file.
        out: the .npz to write.
        most: pictures at most, spread evenly over the seed split.

    Returns:
        How many pictures it holds.

    Raises:
        InputError: the seed split cannot be read.
    """
    pictures = load(seed).evenly(most)
    logits = predictions.logits(expert, pictures.frames, input_spec(pictures.side))
    out.parent.mkdir(parents=True, exist_ok=True)
    units, names = np.array(pictures.units), np.array(pictures.names)
    np.savez_compressed(out, frames=pictures.frames, labels=pictures.labels, units=units, names=names, logits=logits)
    return len(pictures.labels)
