"""Where drawn audit samples meet the expert's answers, on the device: its live risk, and the threshold that follows it.

Three threads meet here, as in the shadow: inference draws a sample and asks for the threshold, the case writer tells its sequence, the
uplink brings the answer. A sample that was to inherit another frame's answer counts when both are there, what it inherited (`settled`) and
the expert's word on itself. A release begins anew with the threshold of its card. What is counted is shared.deferral.live's.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import msgspec

from edge.events import Inferred
from edge.joining import Joining, bound
from shared.deferral.live import MOST_PENDING, LiveRisk, LiveState
from shared.vision.tasks.task import agrees
from shared.wire.messages import Answer, Prediction

MOST_STREAMS = 1024


class _Sample(msgspec.Struct, kw_only=True):
    """A drawn sample: its number in the live risk, what the student said of it, how sure, and whether that stood (for want of budget).

    `local` is what stood in the end, None while that is not known: an inherited answer that has not come yet.
    """

    number: int
    prediction: Prediction
    score: float
    kept: bool
    owed: bool
    local: Prediction | None
    expert: Prediction | None = None


class LiveAudits:
    """The live risk of the release in service; safe for several threads.

    Args:
        epsilon: the live risk that is allowed; None takes the card's.
        follows: whether the threshold is held to it.
    """

    def __init__(self, *, epsilon: float | None = None, follows: bool = False) -> None:
        self._lock = threading.Lock()
        self._epsilon = epsilon
        self._follows = follows
        self._begin(0, LiveRisk.of(threshold=None, epsilon=None, follows=False))

    def adopt(self, release: int, *, threshold: float | None, epsilon: float | None) -> None:
        """Begin anew with a release: the threshold it starts with (None without calibration) and its card's epsilon."""
        live = LiveRisk.of(threshold=threshold, epsilon=self._epsilon if self._epsilon is not None else epsilon, follows=self._follows)
        with self._lock:
            self._begin(release, live)

    def threshold(self) -> float | None:
        """Return the threshold that holds now."""
        return self._live.threshold

    @property
    def alarm(self) -> bool:
        """Whether the device has a drift alarm and is to act on it itself."""
        return self._follows and self._live.alarm

    def drawn(self, inferred: Inferred, now: float, *, is_sent: bool = True) -> None:
        """Take an audit sample when it is drawn.

        Args:
            inferred: the frame.
            now: monotonic seconds.
            is_sent: whether it may leave; one that may not is missing at once.
        """
        with self._lock:
            if inferred.release != self._release or not self._is_new_unit(inferred):
                return
            decision = inferred.decision
            kept = not decision.awaits_answer
            number = self._live.draw(now)
            if not is_sent:
                self._live.lost(number)
                return
            owed = kept and decision.score < decision.threshold and inferred.inherits is None
            local = inferred.prediction if inferred.inherits is None else None
            sample = _Sample(number=number, prediction=inferred.prediction, score=decision.score, kept=kept, owed=owed, local=local)
            self._drawn[inferred.key] = sample
            bound(self._drawn, MOST_PENDING)
            if local is None:
                self._unsettled[inferred.key] = sample
                bound(self._unsettled, MOST_PENDING)

    def settled(self, inferred: Inferred, prediction: Prediction) -> None:
        """Take what stood in the end of a frame that was to inherit an answer: that answer, or the device's own at the deadline."""
        with self._lock:
            sample = self._unsettled.pop(inferred.key, None)
            if sample is not None:
                sample.local = prediction
                self._count(sample)

    def spooled(self, sequence: int, inferred: Inferred) -> None:
        """Take the sequence of an audit sample's case."""
        with self._lock:
            sample = self._drawn.pop(inferred.key, None)
            if sample is None:
                return
            sample.expert = self._joining.bind(sequence, sample)
            self._count(sample)

    def answer(self, answer: Answer) -> None:
        """Take the expert's answer to any case."""
        with self._lock:
            sample = self._joining.answer(answer.sequence, answer.prediction, is_expected=bool(self._drawn))
            if sample is not None:
                sample.expert = answer.prediction
                self._count(sample)

    def state(self, now: float) -> LiveState:
        """Return what is known at a monotonic time."""
        with self._lock:
            return self._live.state(now)

    def _begin(self, release: int, live: LiveRisk) -> None:
        self._release = release
        self._live = live
        self._drawn: OrderedDict[tuple[str, int], _Sample] = OrderedDict()
        self._unsettled: OrderedDict[tuple[str, int], _Sample] = OrderedDict()
        self._joining: Joining[_Sample, Prediction] = Joining(most=MOST_PENDING)
        self._units: OrderedDict[str, str] = OrderedDict()

    def _count(self, sample: _Sample) -> None:
        """Count a sample of which everything is known."""
        if sample.local is None or sample.expert is None:
            return
        differs = not agrees(sample.prediction, sample.expert)
        inherited = None if sample.local is sample.prediction else not agrees(sample.local, sample.expert)
        self._live.answered(sample.number, score=sample.score, differs=differs, kept=sample.kept, owed=sample.owed, inherited=inherited)

    def _is_new_unit(self, inferred: Inferred) -> bool:
        stream, unit = inferred.frame.stream, inferred.frame.unit
        is_new = self._units.pop(stream, None) != unit
        self._units[stream] = unit
        bound(self._units, MOST_STREAMS)
        return is_new
