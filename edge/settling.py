"""Turns what was inferred into events: at once where the local answer stands, in two steps where the region's is awaited.

An awaiting frame's provisional event goes out at once; its final one follows with the region's answer or, at the deadline, with the
device's own. A frame that inherits another's answer waits for that one in the same way, or not at all where it is there already. The
thread here only watches deadlines: answers settle frames on the thread that brings them. A frame waits without its picture: where nothing
is sure and no answer comes, all frames of `answer_deadline_s` wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge.counters import Latencies
from edge.events import Inferred, answered_event, inherited_event, local_event, sent_part, whole_answer, without_picture
from edge.outputs import Takes
from edge.waiting import Key, Waiting
from shared import clock
from shared.errors import ProtocolError
from shared.vision.boxes import Detections
from shared.vision.crops import Part
from shared.vision.tasks.shapes import unpack_boxes
from shared.wire.messages import Answer, Prediction

Joined = Callable[[str, int, Detections, "Part | None"], None]
Settled = Callable[[Inferred, Prediction], None]


class Settler:
    """Writes the events of every frame.

    Args:
        events: where events go.
        joined: told the objects an answer names, with the frame's stream and number and the part of it that was answered.
        settled: told every frame that was to inherit an answer, with the prediction that stands in the end.
    """

    def __init__(self, events: Takes, *, joined: Joined | None = None, settled: Settled | None = None) -> None:
        self._events = events
        self._joined = joined
        self._settled = settled
        self._waiting: Waiting[Inferred, Answer] = Waiting()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
        self.answer_latency = Latencies()
        self.answered = 0
        self.expired = 0
        self.unreadable = 0
        self.inherited = 0

    def start(self) -> None:
        """Begin to watch deadlines."""
        self._thread.start()

    def stop(self) -> None:
        """Make what still waits final with the device's own predictions, and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout=5)
        self._expire(float("inf"))

    def settle(self, inferred: Inferred, now: float) -> None:
        """Write a frame's first event; one that awaits the region's answer, to itself or another frame, then waits for it."""
        inherits = inferred.inherits
        if inherits is not None and inherits.answer is not None:
            self._bequeath(inferred, inherits.answer)
            return
        if inherits is None and not inferred.decision.awaits_answer:
            self._events.put(local_event(inferred, state="final", now=now))
            return
        self._events.put(local_event(inferred, state="provisional", now=now))
        with self._changed:
            self._waiting.add(inferred.key, without_picture(inferred), inferred.due)
            if inherits is not None:
                self._waiting.follow(inferred.key, (inferred.frame.stream, inherits.frame))
            if self._waiting.next_deadline() == inferred.due:
                self._changed.notify()

    def inherit(self, key: Key, answer: Answer) -> None:
        """Take the region's answer to a frame, one that can be read, for those that inherit it."""
        with self._changed:
            heirs = self._waiting.inherit(key)
        for heir in heirs:
            self._bequeath(heir, answer)

    def bind(self, sequence: int, key: Key) -> None:
        """Tell which spool sequence a deferred frame's case has."""
        with self._changed:
            found = self._waiting.bind(sequence, key)
        if found is not None:
            self._finish(*found)

    def answer(self, answer: Answer) -> None:
        """Take the region's answer to a case."""
        with self._changed:
            found = self._waiting.answer(answer.sequence, answer)
        if found is not None:
            self._finish(found, answer)

    def waiting(self) -> int:
        """Return how many deferred frames wait for an answer."""
        return len(self._waiting)

    def unawaited(self) -> int:
        """Return how many answers came that no frame waited for: audit samples', or past the deadline."""
        return self._waiting.unawaited

    def _finish(self, inferred: Inferred, answer: Answer) -> None:
        now = clock.monotonic()
        self.answered += 1
        self.answer_latency.add(now - inferred.frame.arrived_at)
        try:
            prediction = whole_answer(inferred, answer.prediction)
            event = answered_event(inferred, prediction, expert_release=answer.expert_release, now=now)
        except ProtocolError:
            self.unreadable += 1
            event = local_event(inferred, state="final", now=now, source="expired")
        else:
            if self._joined is not None and prediction.boxes is not None:
                self._joined(*inferred.key, unpack_boxes(prediction.boxes), sent_part(inferred))
        self._events.put(event)

    def _bequeath(self, heir: Inferred, answer: Answer) -> None:
        prediction = whole_answer(heir, answer.prediction)
        self.inherited += 1
        self._tell(heir, prediction)
        self._events.put(inherited_event(heir, prediction, expert_release=answer.expert_release, now=clock.monotonic()))

    def _tell(self, inferred: Inferred, prediction: Prediction) -> None:
        if inferred.inherits is not None and self._settled is not None:
            self._settled(inferred, prediction)

    def _expire(self, until: float) -> None:
        with self._changed:
            gone = self._waiting.expired(until)
        for inferred in gone:
            self.expired += 1
            self._tell(inferred, inferred.prediction)
            self._events.put(local_event(inferred, state="final", now=clock.monotonic(), source="expired"))

    def _run(self) -> None:
        while not self._stopping:
            with self._changed:
                due = self._waiting.next_deadline()
                wait_s = 1.0 if due is None else max(0.0, due - clock.monotonic())
                if wait_s > 0 and not self._stopping:
                    self._changed.wait(min(wait_s, 1.0))
            self._expire(clock.monotonic())
