"""The release before, run beside the new one on audit samples only, until the new one has proved itself.

Three threads meet here: the case writer runs the earlier model on a sample once its case is safe in the spool, the uplink brings the
expert's answer, the updater looks at the comparison. The earlier model is run under the lock, and whoever ends the shadow has
waited for that: afterwards no thread here touches it, so it may serve again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from edge.events import Inferred
from edge.joining import Joining, bound
from edge.model import LoadedModel
from edge.paired import Paired
from shared import log
from shared.errors import TerraceError
from shared.release.card import InputSpec
from shared.vision.fit import STRETCH, sizes_of
from shared.vision.frames import Frame, Pixels
from shared.vision.preprocess import prepare
from shared.vision.tasks.task import agrees, task_of
from shared.wire.messages import Answer, Prediction

SHADOW_FAILED = "shadow_failed"
MOST_WAITING = 4096
MOST_STREAMS = 1024


class _Sample(NamedTuple):
    """What both releases said of one frame."""

    now: Prediction
    before: Prediction


class Compared(NamedTuple):
    """A release and how it does, or did, beside the one before it."""

    release: int
    paired: Paired


class Shadow:
    """Compares the release in service with the one before it; does nothing while there is none to compare with."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._release = 0
        self._before: LoadedModel | None = None
        self._paired = Paired.fresh()
        self._last = Compared(release=0, paired=self._paired)
        self._joining: Joining[_Sample, Prediction] = Joining(most=MOST_WAITING)
        self._units: OrderedDict[str, str] = OrderedDict()

    @property
    def is_comparing(self) -> bool:
        """Whether there is a release before to compare with."""
        return self._before is not None

    def begin(self, release: int, before: LoadedModel | None) -> None:
        """Compare a release that begins to serve with `before`; None compares with nothing."""
        with self._lock:
            if self._paired.audited:
                self._last = Compared(release=self._release, paired=self._paired)
            self._release, self._before, self._paired = release, before, Paired.fresh()
            self._joining.clear()
            self._units.clear()

    def end(self) -> None:
        """Compare no longer; when this returns the earlier model is not being run."""
        self.begin(0, None)

    def paired(self) -> Paired:
        """Return the comparison so far."""
        with self._lock:
            return self._paired

    def compared(self) -> Compared:
        """Return the comparison so far, or the last one where none has begun to count."""
        with self._lock:
            return Compared(release=self._release, paired=self._paired) if self._paired.audited else self._last

    def spooled(self, sequence: int, inferred: Inferred) -> None:
        """Take an audit sample whose case is in the spool; for the case writer's thread."""
        with self._lock:
            before = self._before
            if before is None or inferred.release != self._release or not self._is_new_unit(inferred):
                return
            said = self._run(before, inferred)
            if said is None:
                return
            sample = _Sample(inferred.prediction, said)
            expert = self._joining.bind(sequence, sample)
            if expert is not None:
                self._count(sample, expert)

    def answer(self, answer: Answer) -> None:
        """Take the expert's answer to any case; for the uplink's thread."""
        with self._lock:
            if self._before is None:
                return
            sample = self._joining.answer(answer.sequence, answer.prediction)
            if sample is not None:
                self._count(sample, answer.prediction)

    def _count(self, sample: _Sample, expert: Prediction) -> None:
        self._paired = self._paired.add(agrees=agrees(sample.now, expert), agreed_before=agrees(sample.before, expert))

    def _run(self, before: LoadedModel, inferred: Inferred) -> Prediction | None:
        if before.card.labels != inferred.labels:
            return None  # their classes cannot be compared
        try:
            pixels = _pixels(inferred.frame, before.card.input)
            return task_of(before.card).decode(before.engine.run(prepare(pixels[None], before.card.input)), sizes_of([pixels]))[0]
        except TerraceError as error:
            log.get("updater").warning(SHADOW_FAILED, release=before.card.release, reason=error.message)
            self._before = None
            return None

    def _is_new_unit(self, inferred: Inferred) -> bool:
        stream, unit = inferred.frame.stream, inferred.frame.unit
        is_new = self._units.pop(stream, None) != unit
        self._units[stream] = unit
        bound(self._units, MOST_STREAMS)
        return is_new


def _pixels(frame: Frame, spec: InputSpec) -> Pixels:
    """Return the frame as a model may see it: what was scaled for another fit has lost its shape."""
    return frame.pixels if spec.fit == STRETCH else frame.picture()
