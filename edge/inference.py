"""What is done with a batch of frames: answer, decide, hand on, count. Pure: engine, clocks and neighbours are given in.

    outputs = engine(prepare(pixels))        (shared.vision, shared.engines)
    prediction, score = read(outputs)        (shared.deferral.reading: the card's task and score; a detector's objects: edge.objects)
    decision = policy(stream, number, score) (shared.deferral.policy; then near-duplicates, then the byte budget)
    event; and the frame itself when it must be sent

The rules of a model (threshold, score) come from its card and change with it, between two batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge.config import PolicySettings
from edge.counters import Latencies, Served, StreamCounters, SwapRecord
from edge.events import Inferred
from edge.objects import Objects, Seen
from edge.spending import Spending
from shared.deferral import second
from shared.deferral.policy import BELOW_THRESHOLD, Action, Decision, Policy, inheriting
from shared.deferral.reading import Reader, Reading, is_known, reader_of
from shared.errors import TerraceError
from shared.vision.boxes import Detections
from shared.vision.crops import Part
from shared.vision.fit import sizes_of
from shared.vision.frames import Frame
from shared.vision.preprocess import prepare

if TYPE_CHECKING:
    from edge.inheritance import Inheritance
    from edge.liveaudits import LiveAudits
    from edge.model import LoadedModel
    from shared.clock import Clock


class Neighbours:
    """Where a frame goes after its answer, and who is asked on the way.

    Args:
        settle: writes a frame's events; called with the monotonic time of the answer.
        hand_over: takes a frame that must be sent; never blocks.
        audit_key: gives the key of the audit draw.
        dropped: counts the frames that were replaced before they were taken.
        audit_share: gives the share of frames to draw for audit at a monotonic time; the configuration's when left out.
        audits: takes audit samples and says which threshold holds; the card's when left out.
        spending: says what may be sent; everything when left out.
        inheritance: says which frames inherit another's answer; none do when left out.
    """

    def __init__(
        self,
        *,
        settle: Callable[[Inferred, float], None],
        hand_over: Callable[[Inferred], None],
        audit_key: Callable[[], bytes],
        dropped: Callable[[], int],
        audit_share: Callable[[float], float] | None = None,
        audits: LiveAudits | None = None,
        spending: Spending | None = None,
        inheritance: Inheritance | None = None,
    ) -> None:
        self.settle = settle
        self.hand_over = hand_over
        self.audit_key = audit_key
        self.dropped = dropped
        self.audit_share = audit_share
        self.audits = audits
        self.spending = spending
        self.inheritance = inheritance


class Inference:
    """Answers batches and keeps the counts of what became of them.

    Args:
        policy: the operator's figures.
        neighbours: where frames go.
        streams: names of the streams.
        monotonic: tells durations.
        wall: tells Unix seconds.
    """

    def __init__(self, *, policy: PolicySettings, neighbours: Neighbours, streams: Sequence[str], monotonic: Clock, wall: Clock) -> None:
        self._settings = policy
        self._to = neighbours
        self._monotonic = monotonic
        self._wall = wall
        self._running: LoadedModel | None = None
        self._policy = Policy(threshold=None, audit_share=policy.audit_share)
        self._read: Reader | None = None
        self._last_answer = 0.0
        self._last_dropped = 0
        self.counters = {stream: StreamCounters() for stream in streams}
        self.objects = {stream: Objects() for stream in streams}
        self.served: dict[int, Served] = {}
        self.swaps: list[SwapRecord] = []
        self.latency = Latencies()
        self.failures = 0
        self.reason = ""

    def step(self, model: LoadedModel, frames: Sequence[Frame]) -> SwapRecord | None:
        """Answer one batch.

        Returns:
            The change of release, when this batch is the first that another model answered.

        Raises:
            TerraceError: the model failed on every frame of the batch; they are counted as failed.
        """
        before = self._running
        if model is not before:
            self._adopt(model)
        answered = self._answered(model, frames)
        now, key = self._monotonic(), self._to.audit_key()
        self._follow(now)
        for frame, seen in answered:
            self._finish(model, frame, seen, key, now)
        self.served[model.card.release].frames += len(answered)
        swap = self._record_swap(before, model, frames, now) if before is not None and model is not before else None
        self._last_answer, self._last_dropped = now, self._to.dropped()
        return swap

    def joined(self, stream: str, frame: int, said: Detections, part: Part | None) -> None:
        """Take the objects of the expert's answer to a frame or a part of it, in shares of the frame; from any thread."""
        if stream in self.objects:
            self.objects[stream].answered(frame, said, part)

    @property
    def audit_share(self) -> float:
        """The share of frames that is drawn for audit now."""
        return self._policy.audit_share

    def _answered(self, model: LoadedModel, frames: Sequence[Frame]) -> list[tuple[Frame, Seen]]:
        """Return frames with what was seen on them; where a batch fails each is tried alone, so that one costs no other its answer."""
        try:
            return list(zip(frames, self._seen(model, frames, self._infer(model, frames)), strict=True))
        except Exception as error:
            if len(frames) == 1:
                self._count_failure(model, frames[0], error)
                raise
        found: list[tuple[Frame, Seen]] = []
        failure: Exception | None = None
        for frame in frames:
            try:
                found += self._answered(model, [frame])
            except Exception as error:  # noqa: BLE001 - told by whoever runs this, when no frame is left; counted in any case
                failure = error
        if failure is not None and not found:
            raise failure
        return found

    def _infer(self, model: LoadedModel, frames: Sequence[Frame]) -> Reading:
        spec = model.card.input
        first = frames[0].pixels.shape
        if all(frame.pixels.shape == first for frame in frames):
            pixels = frames[0].pixels[None] if len(frames) == 1 else np.stack([frame.pixels for frame in frames])
            batch = prepare(pixels, spec)
        else:
            batch = np.concatenate([prepare(frame.pixels[None], spec) for frame in frames])
        read = self._read or reader_of(model.card)
        outputs = second.answered(model.engine.run, batch, model.card.second_look)
        return read(outputs, sizes_of([frame.pixels for frame in frames]))

    def _seen(self, model: LoadedModel, frames: Sequence[Frame], reading: Reading) -> list[Seen]:
        if reading.candidates is None:
            return [Seen(prediction=said, score=score) for said, score in zip(reading.predictions, reading.scores, strict=True)]
        return [
            self.objects[frame.stream].see(model.card, frame=frame.number, unit=frame.unit, pixels=frame.pixels, candidates=candidates)
            for frame, candidates in zip(frames, reading.candidates, strict=True)
        ]

    def _finish(self, model: LoadedModel, frame: Frame, seen: Seen, key: bytes, now: float) -> None:
        decision = self._policy.decide(stream=frame.stream, frame=frame.number, score=seen.score, audit_key=key)
        if seen.reason and decision.reason == BELOW_THRESHOLD:
            decision = msgspec.structs.replace(decision, reason=seen.reason)
        inherits = self._to.inheritance.of(frame, seen.part, now) if self._to.inheritance and decision.awaits_answer else None
        inferred = Inferred(
            frame=frame,
            prediction=seen.prediction,
            decision=self._paid(decision, now) if inherits is None else inheriting(decision),
            part=seen.part,
            inherits=inherits,
            release=model.card.release,
            labels=model.card.labels,
            deadline_s=self._settings.answer_deadline_s,
        )
        inferred = self._drawn(inferred, now) if decision.action is Action.AUDIT else inferred
        self._to.settle(inferred, now)
        if self._to.inheritance is not None:
            self._to.inheritance.went(inferred, now)
        if inferred.decision.action is not Action.KEEP:
            self._to.hand_over(inferred)
        self._count(inferred, now)

    def _paid(self, decision: Decision, now: float) -> Decision:
        return decision if self._to.spending is None else self._to.spending.applied(decision, now)

    def _count(self, inferred: Inferred, now: float) -> None:
        action, counters = inferred.decision.action, self.counters[inferred.frame.stream]
        counters.kept += action is Action.KEEP
        counters.audited += action is Action.AUDIT
        counters.deferred += action is Action.DEFER
        counters.inherited += inferred.inherits is not None
        counters.last = inferred.frame.number
        self.served[inferred.release].deferred += action is Action.DEFER
        self.latency.add(now - inferred.frame.arrived_at)

    def _drawn(self, inferred: Inferred, now: float) -> Inferred:
        """Count a drawn audit sample; returns it as it is when it may leave, else as the frame it would have been without the draw."""
        is_sent = self._to.spending is None or self._to.spending.lets_audit_through(now)
        if self._to.audits is not None:
            self._to.audits.drawn(inferred, now, is_sent=is_sent)
        if is_sent:
            return inferred
        undrawn = self._policy.without_draw(inferred.decision.score)
        return msgspec.structs.replace(inferred, decision=self._paid(undrawn, now) if inferred.inherits is None else inheriting(undrawn))

    def _adopt(self, model: LoadedModel) -> None:
        """Take the rules of a model that is new here from its card."""
        calibration, override = model.card.calibration, self._settings.threshold
        threshold = override if override is not None else calibration.threshold if calibration else None
        self._read = reader_of(model.card)
        if calibration and not is_known(model.card) and override is None:
            threshold = None  # calibrated for a score this agent does not know: audit only
        self._policy = Policy(threshold=threshold, audit_share=self._settings.audit_share)
        if self._to.audits is not None:
            epsilon = calibration.epsilon if calibration else None
            sha256, now = model.card.onnx_sha256, self._monotonic()
            self._to.audits.adopt(model.card.release, threshold=threshold, epsilon=epsilon, model=sha256, now=now)
        if self._to.inheritance is not None:
            self._to.inheritance.adopt(model.card.release)
        self.served.setdefault(model.card.release, Served())
        self._running = model

    def _follow(self, now: float) -> None:
        """Take the audit share and the threshold that hold now."""
        share = self._to.audit_share(now) if self._to.audit_share else self._policy.audit_share
        threshold = self._to.audits.threshold() if self._to.audits else self._policy.threshold
        if share != self._policy.audit_share or threshold != self._policy.threshold:
            self._policy = Policy(threshold=threshold, audit_share=share)

    def _count_failure(self, model: LoadedModel, frame: Frame, error: Exception) -> None:
        self.failures += 1
        self.served[model.card.release].failures += 1
        self.counters[frame.stream].failed += 1
        self.reason = str(error) if isinstance(error, TerraceError) else f"{type(error).__name__}: {error}"

    def _record_swap(self, before: LoadedModel, model: LoadedModel, frames: Sequence[Frame], now: float) -> SwapRecord:
        at_hand = max(self._last_answer, min(frame.arrived_at for frame in frames))
        record = SwapRecord(
            at=self._wall(),
            from_release=before.card.release,
            to_release=model.card.release,
            gap_ms=1000.0 * (now - at_hand),
            dropped_during=self._to.dropped() - self._last_dropped,
        )
        self.swaps.append(record)
        del self.swaps[:-64]
        return record
