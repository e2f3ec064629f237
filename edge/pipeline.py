"""The inference thread: takes the newest frames, answers them, decides, and hands on. It waits for frames and for nothing else.

    frames = newest of every stream          (edge.newest)
    logits = engine(prepare(pixels))         (shared.vision, shared.engines)
    prediction, score = decode(logits)       (shared.vision.tasks, shared.deferral.scores)
    decision = policy(stream, number, score) (shared.deferral.policy)
    event; and the frame itself when it must be sent  (edge.settling, edge.handover)

The model is read once per batch, so a swap falls between two frames. A model that fails costs its batch, which is counted; the
updater decides what that means.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from edge.config import PolicySettings
from edge.counters import Latencies, Served, StreamCounters, SwapRecord
from edge.events import Inferred
from edge.handover import HandOver
from edge.model import LoadedModel, ModelSlot
from edge.newest import NewestFrames
from edge.settling import Settler
from shared import clock, log
from shared.deferral.policy import Action, Policy
from shared.deferral.scores import SCORES
from shared.errors import TerraceError
from shared.vision.frames import Frame
from shared.vision.preprocess import prepare
from shared.vision.tasks.classification import decode
from shared.wire.messages import Prediction

FAILED, SWAPPED = "inference_failed", "model_swapped"
LARGEST_BATCH = 16


class Pipeline:
    """Answers frames.

    Args:
        frames: the newest frame of every stream.
        models: the model in use.
        policy: the operator's figures.
        audit_key: gives the key of the audit draw.
        settler: writes events.
        hand_over: takes frames that must be sent.
        streams: names of the streams.
        largest_batch: frames of different streams in one run of the model.
    """

    def __init__(
        self,
        *,
        frames: NewestFrames,
        models: ModelSlot,
        policy: PolicySettings,
        audit_key: Callable[[], bytes],
        settler: Settler,
        hand_over: HandOver,
        streams: Sequence[str],
        largest_batch: int = LARGEST_BATCH,
    ) -> None:
        self._frames = frames
        self._models = models
        self._settings = policy
        self._audit_key = audit_key
        self._settler = settler
        self._hand_over = hand_over
        self._largest_batch = largest_batch
        self._running: LoadedModel | None = None
        self._policy = Policy(threshold=None, audit_share=policy.audit_share)
        self._score = SCORES["margin"]
        self._last_answer = clock.monotonic()
        self._last_dropped = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self.counters = {stream: StreamCounters() for stream in streams}
        self.served: dict[int, Served] = {}
        self.swaps: list[SwapRecord] = []
        self.latency = Latencies()
        self.reason = ""

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
            frames = self._frames.take(self._largest_batch, timeout_s=0.5)
            model = self._models.current()
            if frames and model is not None:
                try:
                    self.step(model, frames)
                except Exception as error:  # noqa: BLE001 - local answers never stop: a defect costs its batch and is told
                    self.reason = f"{type(error).__name__}: {error}"
                    log.get("pipeline").exception(FAILED, release=model.card.release, reason=self.reason)

    def step(self, model: LoadedModel, frames: Sequence[Frame]) -> None:
        """Answer one batch: the main loop's body."""
        before = self._running
        if model is not before:
            self._adopt(model)
        try:
            predictions, scores = self._infer(model, frames)
        except TerraceError as error:
            self._count_failure(model, frames, error)
            return
        now, key = clock.monotonic(), self._audit_key()
        for frame, prediction, score in zip(frames, predictions, scores, strict=True):
            self._finish(model, frame, prediction, score, key, now)
        self.served[model.card.release].frames += len(frames)
        if model is not before and before is not None:
            self._record_swap(before, model, frames, now)
        self._last_answer, self._last_dropped = now, self._frames.dropped_in_all()

    def _infer(self, model: LoadedModel, frames: Sequence[Frame]) -> tuple[list[Prediction], list[float]]:
        spec = model.card.input
        first = frames[0].pixels.shape
        if all(frame.pixels.shape == first for frame in frames):
            pixels = frames[0].pixels[None] if len(frames) == 1 else np.stack([frame.pixels for frame in frames])
            batch = prepare(pixels, spec)
        else:
            batch = np.concatenate([prepare(frame.pixels[None], spec) for frame in frames])
        logits = model.engine.run(batch)
        return decode(logits), self._score(logits).tolist()

    def _finish(self, model: LoadedModel, frame: Frame, prediction: Prediction, score: float, key: bytes, now: float) -> None:
        decision = self._policy.decide(stream=frame.stream, frame=frame.number, score=score, audit_key=key)
        inferred = Inferred(
            frame=frame,
            prediction=prediction,
            decision=decision,
            release=model.card.release,
            labels=model.card.labels,
            deadline_s=self._settings.answer_deadline_s,
        )
        self._settler.settle(inferred, now)
        counters = self.counters[frame.stream]
        if decision.action is Action.KEEP:
            counters.kept += 1
        else:
            self._hand_over.offer(inferred)
            counters.audited += decision.action is Action.AUDIT
            counters.deferred += decision.action is Action.DEFER
            self.served[model.card.release].deferred += decision.action is Action.DEFER
        self.latency.add(now - frame.arrived_at)

    def _adopt(self, model: LoadedModel) -> None:
        """Take the rules of a model that is new here from its card."""
        calibration, override = model.card.calibration, self._settings.threshold
        threshold = override if override is not None else calibration.threshold if calibration else None
        self._score = SCORES[calibration.score if calibration and calibration.score in SCORES else "margin"]
        if calibration and calibration.score not in SCORES and override is None:
            threshold = None  # calibrated for a score this agent does not know: audit only
        self._policy = Policy(threshold=threshold, audit_share=self._settings.audit_share)
        self.served.setdefault(model.card.release, Served())
        self._running = model

    def _count_failure(self, model: LoadedModel, frames: Sequence[Frame], error: TerraceError) -> None:
        served = self.served[model.card.release]
        if not served.failures:
            log.get("pipeline").error(FAILED, release=model.card.release, reason=error.message)
        served.failures += len(frames)
        self.reason = str(error)
        for frame in frames:
            self.counters[frame.stream].failed += 1

    def _record_swap(self, before: LoadedModel, model: LoadedModel, frames: Sequence[Frame], now: float) -> None:
        at_hand = max(self._last_answer, min(frame.arrived_at for frame in frames))
        record = SwapRecord(
            at=clock.wall(),
            from_release=before.card.release,
            to_release=model.card.release,
            gap_ms=1000.0 * (now - at_hand),
            dropped_during=self._frames.dropped_in_all() - self._last_dropped,
        )
        self.swaps.append(record)
        del self.swaps[:-64]
        log.get("pipeline").info(SWAPPED, release=record.to_release, before=record.from_release, gap_ms=round(record.gap_ms, 2))
