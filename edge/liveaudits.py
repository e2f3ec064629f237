"""Where drawn audit samples meet the expert's answers, on the device: its live risk, and the threshold that follows it.

Three threads meet here, as in the shadow: inference draws a sample and asks for the threshold, the case writer tells its sequence, the
uplink brings the answer. A sample that was to inherit another frame's answer counts when both are there, what it inherited (`settled`) and
the expert's word on itself. A release begins anew with the threshold of its card, or goes on from what was remembered of it before a
restart. What is counted is shared.deferral.live's, what is kept on disk livefile's and livekeeper's.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from edge.events import Inferred
from edge.joining import Joining, bound
from edge.livefile import LIFE_BYTES, AuditMemory, Drawn, Recollection, WaitingSample, fitting
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

    `changes` grows with everything worth keeping; `began` says why it began anew although something was kept, "" where it did not.

    Args:
        epsilon: the live risk that is allowed; None takes the card's.
        follows: whether the threshold is held to it.
    """

    def __init__(self, *, epsilon: float | None = None, follows: bool = False) -> None:
        self._lock = threading.Lock()
        self._spool_id = b""
        self._epsilon = epsilon
        self._follows = follows
        self._remembered: Recollection | None = None
        self._count_drawn: Callable[[Drawn], None] = _nowhere
        self.changes = 0
        self.began = ""
        self._begin(0, "", LiveRisk.of(threshold=None, epsilon=None, follows=False))

    def keep(self, count_drawn: Callable[[Drawn], None], *, remembered: Recollection | None, spool_id: bytes) -> None:
        """Say where drawn samples are counted from now on, and what may be gone on from; before the first model.

        Args:
            count_drawn: keeps the number of drawn samples before one of them leaves.
            remembered: what was kept before the restart.
            spool_id: of the spool that is open; samples that waited in another are missing.
        """
        with self._lock:
            self._count_drawn, self._remembered, self._spool_id = count_drawn, remembered, spool_id

    def adopt(self, release: int, *, threshold: float | None, epsilon: float | None, model: str = "", now: float = 0.0) -> None:
        """Begin with a release, anew or from what is remembered of it.

        Args:
            release: its number.
            threshold: the one it starts with, None without calibration.
            epsilon: its card's.
            model: the SHA-256 of the model.
            now: monotonic seconds.
        """
        live = LiveRisk.of(threshold=threshold, epsilon=self._epsilon if self._epsilon is not None else epsilon, follows=self._follows)
        with self._lock:
            self._begin(release, model, live)
            self._recall(live, now)
            self._count_drawn(Drawn(life=self._life, count=live.drawn))

    def memory(self, now: float) -> tuple[bytes, AuditMemory]:
        """Return the id of this life, and what `keep` takes after a restart, at a monotonic time."""
        with self._lock:
            settled = [(sequence, sample) for sequence, sample in self._joining.waiting() if sample.local is not None]
            waiting = fitting(_kept(sequence, sample) for sequence, sample in reversed(settled))
            live = self._live.memory(now)
            return self._life, AuditMemory(release=self._release, model=self._model, spool_id=self._spool_id, live=live, waiting=waiting)

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
            self.changes += 1
            self._count_drawn(Drawn(life=self._life, count=self._live.drawn))
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

    def _begin(self, release: int, model: str, live: LiveRisk) -> None:
        self._release, self._model = release, model
        self._life = secrets.token_bytes(LIFE_BYTES)
        self._live = live
        self._drawn: OrderedDict[tuple[str, int], _Sample] = OrderedDict()
        self._unsettled: OrderedDict[tuple[str, int], _Sample] = OrderedDict()
        self._joining: Joining[_Sample, Prediction] = Joining(most=MOST_PENDING)
        self._units: OrderedDict[str, str] = OrderedDict()
        self.changes += 1

    def _recall(self, live: LiveRisk, now: float) -> None:
        """Go on from what is remembered, if it is of this model under this rule."""
        found = self._remembered
        if found is None:
            return
        kept = found.file.audits
        if (kept.release, kept.model) != (self._release, self._model):
            # not forgotten: an update may be loaded after the first model
            self.began = f"what was kept is of another model, release {kept.release}"
            return
        self._remembered = None
        if not live.fits(kept.live):
            self.began = "what was kept began with another threshold or epsilon"
            return
        self.began = ""
        self._life = found.file.life
        live.recall(kept.live, now=now, away_s=found.away_s, drawn=found.drawn)
        waiting = kept.waiting if kept.spool_id == self._spool_id else ()
        for one in waiting:
            self._joining.bind(one.sequence, _waiting(one))
        for number in sorted({number for number, _ in kept.live.pending} - {one.number for one in waiting}):
            live.lost(number)  # on its way to the spool, or to inherit an answer, or one of more than are kept

    def _count(self, sample: _Sample) -> None:
        """Count a sample of which everything is known."""
        if sample.local is None or sample.expert is None:
            return
        self.changes += 1
        differs = not agrees(sample.prediction, sample.expert)
        inherited = None if sample.local is sample.prediction else not agrees(sample.local, sample.expert)
        self._live.answered(sample.number, score=sample.score, differs=differs, kept=sample.kept, owed=sample.owed, inherited=inherited)

    def _is_new_unit(self, inferred: Inferred) -> bool:
        stream, unit = inferred.frame.stream, inferred.frame.unit
        is_new = self._units.pop(stream, None) != unit
        self._units[stream] = unit
        bound(self._units, MOST_STREAMS)
        return is_new


def _kept(sequence: int, sample: _Sample) -> WaitingSample:
    return WaitingSample(
        sequence=sequence,
        number=sample.number,
        prediction=sample.prediction,
        score=sample.score,
        kept=sample.kept,
        owed=sample.owed,
        inherited=None if sample.local is sample.prediction else sample.local,
    )


def _waiting(one: WaitingSample) -> _Sample:
    local = one.prediction if one.inherited is None else one.inherited
    return _Sample(number=one.number, prediction=one.prediction, score=one.score, kept=one.kept, owed=one.owed, local=local)


def _nowhere(drawn: Drawn) -> None:
    """Keep no count: before `keep` was called."""
    del drawn
