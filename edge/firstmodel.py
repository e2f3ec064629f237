"""The model of `model.path`: what a device answers with until a release has come."""

from __future__ import annotations

from pathlib import Path

from edge.model import MakeEngine, ModelSlot, open_model


class FirstModel:
    """Puts the model of `model.path` into service where no release is there yet.

    Args:
        folder: with model.onnx and card.json; None for none.
        models: where it goes.
        make: makes engines.
    """

    def __init__(self, folder: Path | None, models: ModelSlot, make: MakeEngine) -> None:
        self._folder = folder
        self._models = models
        self._make = make

    def start(self) -> None:
        """Load it.

        Raises:
            TrustError: its card does not belong to it.
            EngineError: it cannot be run here.
        """
        if self._folder is None or self._models.current() is not None:
            return
        model = open_model(self._folder / "model.onnx", self._folder / "card.json", self._make)
        if self._models.current() is None:  # the updater may have brought a release while this was loaded
            self._models.swap(model)

    def stop(self) -> None:
        """Nothing is left running."""
