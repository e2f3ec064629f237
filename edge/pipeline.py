"""The inference thread: takes the newest frames and has them answered. It waits for frames and for nothing else.

The model is read once per batch, so a swap falls between two frames. A model that fails on a frame costs that frame, which is counted;
the updater decides what that means. Local answers never stop: a defect costs its batch at most, and is told once. What batches have
taken bounds the next one (freshness); another model begins anew.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from edge.freshness import Foresight
from edge.inference import Inference
from edge.model import LoadedModel, ModelSlot
from edge.newest import NewestFrames
from shared import clock, log
from shared.errors import TerraceError
from shared.vision.frames import Frame

FAILED, SWAPPED = "inference_failed", "model_swapped"
LARGEST_BATCH, MOST_TOLD = 16, 64


class Pipeline:
    """Runs the inference.

    Args:
        frames: the newest frame of every stream.
        models: the model in use.
        inference: answers batches.
        largest_batch: frames of different streams in one run of the model.
    """

    def __init__(self, *, frames: NewestFrames, models: ModelSlot, inference: Inference, largest_batch: int = LARGEST_BATCH) -> None:
        self._frames = frames
        self._models = models
        self._inference = inference
        self._largest_batch = largest_batch
        self._told: set[str] = set()
        self._foresight, self._foreseen_for = Foresight(), 0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    def start(self) -> None:
        """Begin to answer; waits for the first model by itself."""
        self._thread.start()

    def stop(self) -> None:
        """End after the batch in hand."""
        self._stopping = True
        self._frames.close()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stopping:
            if not self._models.wait(0.2):
                continue
            frames = self._frames.take(self._largest_batch, timeout_s=0.5, foresight=self._foresight)
            model = self._models.current()
            if frames and model is not None:
                began = clock.monotonic()
                self._answer(model, frames)
                self._learn(model, len(frames), clock.monotonic() - began)

    def _learn(self, model: LoadedModel, frames: int, seconds: float) -> None:
        if model.card.release != self._foreseen_for:
            self._foresight, self._foreseen_for = Foresight(), model.card.release
        self._foresight.took(frames, seconds)

    def _answer(self, model: LoadedModel, frames: Sequence[Frame]) -> None:
        failures = self._inference.failures
        try:
            swap = self._inference.step(model, frames)
        except TerraceError as error:
            self._tell(model, error.message)
        except Exception as error:  # noqa: BLE001 - a defect costs its batch and is told, with its trace
            self._inference.reason = f"{type(error).__name__}: {error}"
            self._tell(model, self._inference.reason, trace=True)
        else:
            if self._inference.failures > failures:
                self._tell(model, self._inference.reason)
            if swap is not None:
                log.get("pipeline").info(SWAPPED, release=swap.to_release, before=swap.from_release, gap_ms=round(swap.gap_ms, 2))

    def _tell(self, model: LoadedModel, reason: str, *, trace: bool = False) -> None:
        """Log a failure once per release and reason, not once per frame."""
        word = f"{model.card.release} {reason}"
        if word not in self._told:
            self._told = {*self._told, word} if len(self._told) < MOST_TOLD else {word}
            log.get("pipeline").error(FAILED, release=model.card.release, reason=reason, exc_info=trace)
