"""The interface of an inference engine: load once, run batches of prepared input. Implementations: onnx, trt."""

from __future__ import annotations

from typing import Protocol

import numpy as np

Batch = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


class Engine(Protocol):
    """A loaded model."""

    @property
    def name(self) -> str:
        """What runs it, for people: `onnxruntime cpu int8`."""

    def run(self, batch: Batch) -> Batch:
        """Run one batch.

        Args:
            batch: float32 NCHW, contiguous, any N of at least 1.

        Returns:
            float32, one answer per frame: shape (N, classes) of a classifier, (N, ...) as the card's task says (vision.tasks).

        Raises:
            EngineError: the model failed on this input.
        """

    def close(self) -> None:
        """Give the memory back; the engine is not used afterwards."""
