"""Which frames inherit the answer to another frame's case: the near-duplicates of one device (shared.deferral.dedupe has the rules).

Three threads meet here: inference asks whether a frame inherits and tells what is sent, the case writer tells a case's sequence, the uplink
brings its answer. A new release begins with nothing to inherit, its classes may be others; nor is an answer inherited that cannot be read.

Not here: an heir's event (edge.settling), and what it counts in the live risk (edge.liveaudits).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge.config import PolicySettings
from edge.events import Inferred, Inherited, check_answer, sent_part
from edge.joining import Joining
from shared.deferral.dedupe import Descriptor, RecentCases, describe
from shared.deferral.policy import Action
from shared.errors import ProtocolError
from shared.vision.crops import Part
from shared.vision.frames import Frame
from shared.wire.messages import Answer

Key = tuple[str, int]
NEAREST = 6.0
"""Grey levels, of 255, of the most different block: above the noise of a block's mean, below what a small fault does to it."""
WITHIN_S = 60.0
CAPACITY = 64
MOST_ON_THEIR_WAY = 1024


class Inheritance:
    """The cases that others may inherit from; safe for several threads.

    Args:
        policy: edge.toml's: whether frames inherit at all; a case without an answer attracts others until an event's deadline.
        settled: told which case was answered, and with what.
    """

    def __init__(self, policy: PolicySettings, *, settled: Callable[[Key, Answer], None]) -> None:
        self._lock = threading.Lock()
        self._is_on = policy.inherit
        deadline_s = policy.answer_deadline_s
        self._cases: RecentCases[Answer] = RecentCases(nearness=NEAREST, within_s=WITHIN_S, answer_s=deadline_s, capacity=CAPACITY)
        self._joining: Joining[Key, Answer] = Joining(most=MOST_ON_THEIR_WAY)
        self._settled = settled
        self._described: tuple[Key, Descriptor] | None = None
        self._release = 0

    def adopt(self, release: int) -> None:
        """Begin anew when a frame is of another release than those before."""
        with self._lock:
            if release != self._release:
                self._release = release
                self._cases.clear()

    def of(self, frame: Frame, part: Part | None, now: float) -> Inherited | None:
        """Return whose answer a frame inherits that would be sent, None where it is to be sent.

        Args:
            frame: the frame.
            part: what is uncertain of it, None for the whole.
            now: monotonic seconds.
        """
        if not self._is_on:
            return None
        found = self._describe(frame)
        with self._lock:
            case = self._cases.inherit(frame.stream, found, now=now, part=part)
            return Inherited(frame=case.frame, part=case.part, answer=case.answer) if case is not None else None

    def went(self, inferred: Inferred, now: float) -> None:
        """Take a frame whose first event is out: one that is sent is remembered, one whose inheritance came meanwhile is settled."""
        if self._is_on and inferred.decision.action is not Action.KEEP:
            found = self._describe(inferred.frame)
            with self._lock:
                self._cases.add(*inferred.key, found, now=now, part=sent_part(inferred))
        if inferred.inherits is not None and inferred.inherits.answer is None:
            key = (inferred.frame.stream, inferred.inherits.frame)
            answer = self._word(key)
            if answer is not None:
                self._settled(key, answer)

    def sampled(self, sequence: int, inferred: Inferred) -> None:
        """Take the sequence of an audit sample's case; of one that awaits its answer `spooled` is told."""
        if not inferred.decision.awaits_answer:
            self.spooled(sequence, inferred.key)

    def spooled(self, sequence: int, key: Key) -> None:
        """Take the sequence of a sent frame's case."""
        if not self._is_on:
            return
        with self._lock:
            answer = self._joining.bind(sequence, key)
        if answer is not None:
            self._answered(key, answer)

    def answer(self, answer: Answer) -> None:
        """Take the region's answer to any case."""
        if not self._is_on:
            return
        with self._lock:
            key = self._joining.answer(answer.sequence, answer)
        if key is not None:
            self._answered(key, answer)

    def _word(self, key: Key) -> Answer | None:
        with self._lock:
            case = self._cases.get(*key)
            return case.answer if case is not None else None

    def _answered(self, key: Key, answer: Answer) -> None:
        try:
            check_answer(answer.prediction)
        except ProtocolError:
            with self._lock:
                self._cases.forget(*key)
            return
        with self._lock:
            self._cases.answered(*key, answer)
        self._settled(key, answer)

    def _describe(self, frame: Frame) -> Descriptor:
        key = (frame.stream, frame.number)
        if self._described is None or self._described[0] != key:
            self._described = (key, describe(frame.pixels))
        return self._described[1]
