"""An expert, prepared and decoded by the same code as on the devices; ONNX Runtime on the processor unless told another engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from shared.engines.base import Engine
from shared.engines.onnx import OnnxEngine
from shared.errors import EngineError, StorageError, TrustError
from shared.release.card import Card, decode_card, sha256
from shared.vision.fit import sizes_of
from shared.vision.frames import Pixels
from shared.vision.preprocess import prepare
from shared.vision.tasks.task import task_of
from shared.wire.messages import Prediction


class OnnxExpert:
    """A release of the family `expert`.

    Args:
        path: the model file.
        card: its card.
        threads: threads inside one operator.
        make: makes another engine for the file, as a hardware profile says.

    Raises:
        EngineError: this region does not know the card's task.
    """

    def __init__(self, path: Path, card: Card, *, threads: int, make: Callable[[Path], Engine] | None = None) -> None:
        self._engine: Engine = OnnxEngine(path, threads=threads) if make is None else make(path)
        self._card = card
        self._task = task_of(card)

    @property
    def release(self) -> int:
        """The release's number within the family."""
        return self._card.release

    @property
    def name(self) -> str:
        """What runs it, for people."""
        return self._engine.name

    def load(self) -> OnnxExpert:
        """Load the model and run it once on an empty picture, so that the first case does not wait; returns itself.

        Raises:
            EngineError: it cannot be loaded, or does not answer what its card says.
        """
        spec = self._card.input
        outputs = self._engine.run(prepare(np.zeros((1, spec.height, spec.width, 3), np.uint8), spec))
        try:
            self._task.check(outputs.shape)
        except EngineError as error:
            raise EngineError(f"expert {self.release} does not fit its card: {error.message}", "Publish a correct release.") from error
        return self

    def answer(self, pictures: Sequence[Pixels]) -> list[Prediction]:
        """Answer one batch; see `Expert.answer`."""
        rows = [prepare(picture[None], self._card.input) for picture in pictures]
        return self._task.decode(self._engine.run(np.concatenate(rows)), sizes_of(pictures))

    def close(self) -> None:
        """Give the session back."""
        self._engine.close()


def read_card(path: Path) -> Card:
    """Read the card beside a local model file (`x.onnx` has `x.card.json`) and check that it belongs to it.

    Raises:
        StorageError: one of the two cannot be read.
        TrustError: no card, or the card of another file.
    """
    beside = path.with_suffix(".card.json")
    try:
        card, digest = decode_card(beside.read_bytes()), sha256(path.read_bytes())
    except OSError as error:
        raise StorageError(f"the expert's file {error.filename} cannot be read: {error.strerror}.", "Correct `expert.path`.") from error
    if card.onnx_sha256 and card.onnx_sha256 != digest:
        raise TrustError(f"{beside} is not the card of {path.name}.", "Put the right one beside it.")
    return card
