"""The model in use: one reference, swapped between two frames.

Readers take `current()` once per batch and keep what they got until the batch is done; `swap` puts another in its place and
returns the old one, which stays whole until its last reader lets go of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from shared.deferral import scores, second
from shared.engines.base import Engine
from shared.errors import EngineError, TrustError
from shared.release.card import Card, InputSpec, decode_card, sha256
from shared.vision.fit import Size, place_of
from shared.vision.tasks.task import task_of

MakeEngine = Callable[[Path], Engine]
LARGEST_SIDE = 4096
"""Of a network's input, pixels."""


class LoadedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is ready to run, with its card."""

    engine: Engine
    card: Card


class ModelSlot:
    """Where the running model stands; empty until the first release has arrived."""

    def __init__(self) -> None:
        self._model: LoadedModel | None = None
        self._filled = threading.Event()

    def current(self) -> LoadedModel | None:
        """Return the model in use, None before the first."""
        return self._model

    def input_size(self) -> tuple[int, int] | None:
        """Return height and width of the running model's input in pixels, None before the first."""
        model = self._model
        return (model.card.input.height, model.card.input.width) if model else None

    def scaled_size(self, size: Size) -> Size | None:
        """Return the height and width in pixels to which the running model scales a frame of this size, None before the first."""
        model = self._model
        return place_of(size, model.card.input).size if model else None

    def swap(self, model: LoadedModel) -> LoadedModel | None:
        """Put `model` in use from the next batch on and return the one it replaces."""
        before, self._model = self._model, model
        self._filled.set()
        return before

    def wait(self, timeout_s: float) -> bool:
        """Wait for the first model; True when there is one."""
        return self._filled.wait(timeout_s)


def open_model(onnx: Path, card: Path, make_engine: MakeEngine) -> LoadedModel:
    """Load a release's two files and run it once, so that the first frame does not pay for it.

    Args:
        onnx: the model file.
        card: its card.
        make_engine: makes the engine of the hardware profile for a file.

    Returns:
        The model, warm.

    Raises:
        TrustError: the card cannot be read, names another file than this, describes no input that can be, or has a learned score or
            second look that does not fit it.
        EngineError: the model cannot be read or run, or does not fit its card.
    """
    try:
        data = onnx.read_bytes()
        described = decode_card(card.read_bytes())
    except OSError as error:
        raise EngineError(f"the model in {onnx.parent} cannot be read: {error}.", "Give a folder with model.onnx and card.json.") from error
    if described.onnx_sha256 and described.onnx_sha256 != sha256(data):
        raise TrustError(f"{onnx.name} is not the file its card describes.", "Copy both files of one release.")
    scores.check(described)
    second.check(described)
    spec = described.input
    _check_input(spec)
    engine = make_engine(onnx)
    task_of(described).check(engine.run(np.zeros((1, spec.channels, spec.height, spec.width), np.float32)).shape)
    return LoadedModel(engine=engine, card=described)


def _check_input(spec: InputSpec) -> None:
    is_sized = min(spec.width, spec.height) >= 1 and max(spec.width, spec.height) <= LARGEST_SIDE
    if not is_sized or not spec.channels == len(spec.mean) == len(spec.std) or min(spec.std, default=0.0) <= 0.0:
        shape = f"{spec.width}x{spec.height} pixels of {spec.channels} channels, mean {spec.mean}, std {spec.std}"
        raise TrustError(f"the card describes an input that cannot be: {shape}.", "Use another release.")
