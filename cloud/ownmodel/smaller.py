"""The INT8 file of a user's detector or segmenter: whether it is made, from which pictures, and where it is kept."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from cloud.foundry.quantise import quantise
from cloud.foundry.workbench import Workbench, digest
from cloud.ownmodel import judgement, shares
from cloud.ownmodel.album import Album
from cloud.ownmodel.models import Brought
from cloud.ownmodel.orders import Order
from cloud.ownmodel.shares import Indices
from shared.durable import write

RANGE_PICTURES = 64


def int8(bench: Workbench, order: Order, student: Brought, pictures: Album, ranges: Indices, *, step: str) -> Path | str:
    """Return the INT8 file, or the reason why there is none; its last convolutions stay in full precision.

    Args:
        bench: where it is kept.
        order: the import's options.
        student: the model.
        pictures: the user's.
        ranges: those that the ranges are taken from, of which the first RANGE_PICTURES are.
        step: the kept step's name.
    """
    if student.fitted.quantised:
        return "the model was quantised before it came here"
    if asked := judgement.full_asked(order.precision, order.profile):
        return asked
    picked = ranges[:RANGE_PICTURES]
    if len(picked) < shares.FEWEST_RANGES:
        return f"{len(picked)} pictures for the ranges of INT8 are fewer than {shares.FEWEST_RANGES}"
    symmetric = order.profile.engine.name == "tensorrt"

    def make(folder: Path) -> None:
        bench.say("quantising")
        frames = np.asarray(student.frames[picked])
        write(folder / "int8.onnx", quantise(student.file.read_bytes(), frames, student.spec, symmetric=symmetric, float_tail=True))

    key = digest(student.file) + pictures.key() + f"{symmetric}{picked.tolist()}".encode() + msgspec.json.encode(student.spec)
    return bench.step(step, key, make) / "int8.onnx"
