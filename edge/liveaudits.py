"""Where drawn audit samples meet the expert's answers, on the device: its live risk, and the threshold that follows it.

Three threads meet here, as in the shadow: inference draws a sample and asks for the threshold, the case writer tells its sequence, the
uplink brings the answer. A release begins anew with the threshold of its card. What is counted is shared.deferral.live's.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple, TypeVar

from edge.events import Inferred
from shared.deferral.live import MOST_PENDING, LiveRisk, LiveState
from shared.vision.tasks.task import agrees
from shared.wire.messages import Answer, Prediction

MOST_STREAMS = 1024
MOST_EARLY = 64
"""Answers that are kept for a sample still on its way here; each may hold a map of a megabyte."""
Key = TypeVar("Key")
Value = TypeVar("Value")


class _Sample(NamedTuple):
    """A drawn sample: its number in the live risk, what the student said of it, how sure, and whether that stood (for want of budget)."""

    number: int
    prediction: Prediction
    score: float
    kept: bool
    owed: bool


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
            owed = kept and decision.score < decision.threshold
            self._drawn[inferred.key] = _Sample(number, inferred.prediction, decision.score, kept, owed)
            _bound(self._drawn)

    def spooled(self, sequence: int, inferred: Inferred) -> None:
        """Take the sequence of an audit sample's case."""
        with self._lock:
            sample = self._drawn.pop(inferred.key, None)
            if sample is None:
                return
            if sequence in self._early:
                self._count(sample, self._early.pop(sequence))
            else:
                self._waiting[sequence] = sample
                _bound(self._waiting)

    def answer(self, answer: Answer) -> None:
        """Take the expert's answer to any case."""
        with self._lock:
            sample = self._waiting.pop(answer.sequence, None)
            if sample is not None:
                self._count(sample, answer.prediction)
            elif self._drawn:
                self._early[answer.sequence] = answer.prediction  # of a sample still on its way here, or of no sample
                _bound(self._early, MOST_EARLY)

    def state(self, now: float) -> LiveState:
        """Return what is known at a monotonic time."""
        with self._lock:
            return self._live.state(now)

    def _begin(self, release: int, live: LiveRisk) -> None:
        self._release = release
        self._live = live
        self._drawn: OrderedDict[tuple[str, int], _Sample] = OrderedDict()
        self._waiting: OrderedDict[int, _Sample] = OrderedDict()
        self._early: OrderedDict[int, Prediction] = OrderedDict()
        self._units: OrderedDict[str, str] = OrderedDict()

    def _count(self, sample: _Sample, expert: Prediction) -> None:
        differs = not agrees(sample.prediction, expert)
        self._live.answered(sample.number, score=sample.score, differs=differs, kept=sample.kept, owed=sample.owed)

    def _is_new_unit(self, inferred: Inferred) -> bool:
        stream, unit = inferred.frame.stream, inferred.frame.unit
        is_new = self._units.pop(stream, None) != unit
        self._units[stream] = unit
        _bound(self._units, MOST_STREAMS)
        return is_new


def _bound(memory: OrderedDict[Key, Value], most: int = MOST_PENDING) -> None:
    while len(memory) > most:
        memory.popitem(last=False)
