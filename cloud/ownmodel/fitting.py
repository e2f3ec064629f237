"""From somebody's file to one that every device of a fleet loads: opened, brought into form, folded, checked and tried.

Rules, in order:
1. The graph gets the devices' form (surgery), its constants are worked out, batch norms folded. Where operators are left that only
   work out shapes, they are worked out for one picture, and the batch is freed again.
2. No operator is left that the devices' admission or the signer refuses; all of them are named at once.
3. It is run: one row per picture, finite numbers, and a picture's row is the same alone and in a batch of others. A file that mixes the
   pictures of a batch, or takes only one, is refused.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from cloud import graph
from cloud.foundry.form import normalised
from cloud.foundry.quantise import folded
from cloud.ownmodel import anatomy, modelfile, surgery
from shared.engines.admission import admit
from shared.engines.base import Batch
from shared.engines.onnx import OnnxEngine
from shared.errors import EngineError

TRIED = 3
TOLERANCE = 1e-3
"""Of the largest score: how much a row may differ with its neighbours; kernels sum in another order for another batch."""


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """A model file that devices load: its size in pixels, the shape of one picture's answer, what was changed."""

    width: int
    height: int
    shape: tuple[int, ...]
    changes: tuple[str, ...]
    quantised: bool

    @property
    def scores(self) -> int:
        """How many scores a classifier's picture has."""
        return self.shape[1]


def fit(path: Path, wanted: surgery.Wanted, out: Path) -> Fitted:
    """Write the devices' form of a model file.

    Args:
        path: the user's file.
        wanted: what the user says of it.
        out: the file to write.

    Raises:
        InputError: the file cannot be read, or what the user says does not fit it.
        EngineError: the graph is of a kind that devices cannot run; says which part.
    """
    given = modelfile.load(path)
    renewed = modelfile.renewed(given)
    done = surgery.adapted(renewed, wanted)
    data = folded(normalised_or_refused(done.model.SerializeToString()))
    changes = done.changes
    if anatomy.foreign(graph.parsed(data)):
        data = _settled(data)
        changes = (*changes, "worked out shapes that depended on size and batch")
    refuse_foreign(anatomy.foreign(graph.parsed(data)))
    admit(data)
    graph.check(data)
    out.write_bytes(data)
    if renewed is not given:
        changes = (f"turned operators of version {anatomy.opset(given)} into version {anatomy.opset(renewed)}", *changes)
    shape = tried(out, width=done.width, height=done.height)
    quantised = anatomy.read(renewed).quantised
    return Fitted(width=done.width, height=done.height, shape=shape, changes=changes, quantised=quantised)


def _settled(data: bytes) -> bytes:
    """Return a graph whose shapes were worked out for a single picture, the batch then freed; what it answers to a batch is tried later."""
    single = folded(normalised_or_refused(surgery.alone(graph.parsed(data)).SerializeToString()))
    return folded(normalised_or_refused(surgery.freed(graph.parsed(single)).SerializeToString()))


def normalised_or_refused(data: bytes) -> bytes:
    """Return a graph without traces of its maker.

    Raises:
        EngineError: what was made of it is no valid graph.
    """
    try:
        return normalised(data)
    except Exception as error:  # the checker raises its own class, a ValueError or a TypeError, by what is wrong
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise EngineError(f"the graph is not valid: {lines[0][:200]}", modelfile.EXPORT_AGAIN) from error


def refuse_foreign(operators: tuple[str, ...]) -> None:
    """Refuse operators that no device may run (rule 2).

    Raises:
        EngineError: naming them all.
    """
    if operators:
        raise EngineError(
            f"the model uses operators that devices refuse: {', '.join(operators)}.",
            "Export the network alone, without control flow, custom operators or the suppression of boxes.",
        )


def tried(path: Path, *, width: int, height: int) -> tuple[int, ...]:
    """Run a file on noise (rule 3) and return the shape of one picture's answer, (1, ...).

    Raises:
        EngineError: it does not answer a batch as it answers its pictures alone.
    """
    noise = np.random.default_rng(1).random((TRIED, 3, height, width), np.float32)
    engine = OnnxEngine(path, threads=2)
    try:
        single = np.concatenate([_alone(engine, noise[index : index + 1]) for index in range(TRIED)])
        together = _together(engine, noise)
    finally:
        engine.close()
    if float(np.abs(single - together).max()) > TOLERANCE * max(1.0, float(np.abs(single).max())):
        raise EngineError("a picture's answer depends on the others of its batch.", "Export it in evaluation mode, with a free batch.")
    return (1, *single.shape[1:])


def _alone(engine: OnnxEngine, picture: Batch) -> Batch:
    try:
        return engine.run(picture)
    except EngineError as error:
        remedy = "Export it for a free batch by another exporter or version (torch.onnx.export(..., dynamo=True))."
        raise EngineError(f"the model answers no picture: {error.message}", remedy) from error


def _together(engine: OnnxEngine, noise: Batch) -> Batch:
    try:
        return engine.run(noise)
    except EngineError as error:
        remedy = "Export it with a free batch (dynamic_axes={'input': {0: 'batch'}})."
        raise EngineError(f"the model answers one picture, but no batch of {TRIED}: {error.message}", remedy) from error
