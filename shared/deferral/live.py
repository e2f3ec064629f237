"""The live risk of one release on one device, P(kept and student != expert), from audit samples; and the threshold that holds it. Pure.

Rules, in order:
1. Audit samples are drawn at random before any gate; the first of each unit in a row counts (the caller sees to that). A sample errs when
   the frame was kept, or would have been without the draw, and student and expert differ. So it bounds P(kept and student wrong and expert
   right), which nobody can see without labels, from above.
2. A sample that was drawn and has no answer after `PATIENCE_S` is missing. The interval takes missing samples at their worst
   (see anytime); above a share of `CENSORED` the estimate is called censored. An answer that comes later takes its sample back.
3. The risk is told over a stretch of the newest samples: one to two windows (see adaptive). Its interval holds at every moment of the
   stretch together, also while the threshold follows.
4. What the byte budget kept, although its score asked for the expert, counts as kept; the part of the risk that comes from it is
   the risk debt. The threshold does not chase it: only the score can be moved.
5. A frame that inherited another's answer (dedupe) was kept, and errs when that answer and the expert's word on itself differ;
   `inherited` is the part of the risk that comes from it. No threshold would have prevented such an error, so one that follows makes room
   for it. Drift is still told by what the student said.
6. With an epsilon the threshold follows (see adaptive), otherwise it stays where it began.
7. After a restart it goes on from its memory; samples drawn after that are missing.

Example:
    >>> live = LiveRisk.of(threshold=2.0, epsilon=0.02, follows=False)
    >>> for _ in range(50):
    ...     live.answered(live.draw(0.0), score=3.0, differs=False, kept=True)
    >>> live.state(1.0).risk, live.state(1.0).audited
    (0.0, 50)
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict

import msgspec

from shared.deferral.adaptive import Follower, window_of
from shared.deferral.anytime import CENSORED, interval
from shared.deferral.livememory import LiveMemory, Stretch
from shared.deferral.steadiness import Steadiness

PATIENCE_S = 600.0
STRETCH = 500
"""Samples of a window where there is no epsilon to derive it from."""
MOST_PENDING = 8192


class LiveState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known now. Shares are 0 to 1; `threshold` is None without calibration; `missing` samples have no answer after patience.

    `audited` answered samples stand behind `risk`; `low` and `high` are its interval; `debt` is the part of it that the byte budget caused,
    `inherited` the part that inherited answers did; `epsilon` is what the threshold is held to, None where it does not follow. `drift`,
    `disagreement`, `reference`: see steadiness.
    """

    risk: float
    low: float
    high: float
    audited: int
    missing: int
    pending: int
    is_censored: bool
    debt: float
    threshold: float | None
    start: float | None
    epsilon: float | None
    drift: str
    disagreement: float
    reference: float
    evidence: float
    inherited: float


class LiveRisk:
    """The live risk of one release. Not locked: its owner is.

    Args:
        threshold: the one the release begins with, None without calibration.
        follower: moves it; None leaves it.
        window: samples after which a new stretch begins.
    """

    def __init__(self, *, threshold: float | None, follower: Follower | None, window: int) -> None:
        self._threshold = threshold
        self._follower = follower
        self._window = window
        self._drawn = 0
        self._pending: OrderedDict[int, float] = OrderedDict()
        self._overdue: OrderedDict[int, None] = OrderedDict()
        self._older: Stretch | None = None
        self._newer = Stretch(first=0)
        self._steadiness = Steadiness()

    @classmethod
    def of(cls, *, threshold: float | None, epsilon: float | None, follows: bool) -> LiveRisk:
        """Return one that has seen nothing.

        Args:
            threshold: the one the release begins with, None without calibration.
            epsilon: the live risk that is allowed, above 0 and below 1; None where nobody said.
            follows: whether the threshold is held to it.
        """
        follower = Follower.of(start=threshold, epsilon=epsilon) if follows and threshold is not None and epsilon is not None else None
        return cls(threshold=threshold, follower=follower, window=window_of(epsilon) if epsilon else STRETCH)

    @property
    def threshold(self) -> float | None:
        """The threshold that holds now."""
        return self._follower.threshold if self._follower else self._threshold

    @property
    def drawn(self) -> int:
        """How many samples were drawn."""
        return self._drawn

    @property
    def alarm(self) -> bool:
        """Whether there is a drift alarm."""
        return self._steadiness.recovery is not None

    def memory(self, now: float) -> LiveMemory:
        """Return what `recall` needs to go on from `now` (monotonic seconds)."""
        return LiveMemory(
            threshold=self._threshold,
            epsilon=self._follower.epsilon if self._follower else None,
            window=self._window,
            drawn=self._drawn,
            pending=tuple((number, now - at) for number, at in self._pending.items()),
            overdue=tuple(self._overdue),
            older=copy.copy(self._older),
            newer=copy.copy(self._newer),
            steadiness=self._steadiness,
            samples=self._follower.held() if self._follower else (),
        )

    def fits(self, memory: LiveMemory) -> bool:
        """Whether a memory is of a live risk that began with the same threshold, epsilon and window."""
        epsilon = self._follower.epsilon if self._follower else None
        return (memory.threshold, memory.epsilon, memory.window) == (self._threshold, epsilon, self._window)

    def recall(self, memory: LiveMemory, *, now: float, away_s: float, drawn: int) -> None:
        """Go on from a memory that `fits`; for one that has seen nothing yet.

        Args:
            memory: as `memory` gave it.
            now: monotonic seconds.
            away_s: seconds that have passed since the memory.
            drawn: samples that were drawn until the end. Those after the memory are missing: whatever they would have said is lost.
        """
        self._drawn = memory.drawn
        self._pending = OrderedDict((number, now - age - away_s) for number, age in memory.pending)
        self._overdue = OrderedDict.fromkeys(memory.overdue)
        self._older, self._newer = copy.copy(memory.older), copy.copy(memory.newer)
        self._steadiness = memory.steadiness
        if self._follower is not None and memory.samples:
            self._follower.add_many(memory.samples)
        for _ in range(drawn - memory.drawn):
            self.lost(self.draw(now))

    def draw(self, now: float) -> int:
        """Note that a sample was drawn at `now` (monotonic seconds); returns its number."""
        number = self._drawn
        self._drawn += 1
        self._pending[number] = now
        if len(self._pending) > MOST_PENDING:
            self.lost(next(iter(self._pending)))
        return number

    def lost(self, number: int) -> None:
        """Note that a sample will not be answered, or not for long."""
        if self._pending.pop(number, None) is None:
            return
        self._overdue[number] = None
        if len(self._overdue) > MOST_PENDING:
            self._overdue.popitem(last=False)
        for stretch in self._of(number):
            stretch.missing += 1
        self._turn()

    def answered(self, number: int, *, score: float, differs: bool, kept: bool, owed: bool = False, inherited: bool | None = None) -> None:
        """Take the expert's word on a sample; one that is not awaited (any more) is ignored.

        Args:
            number: as `draw` gave it.
            score: how sure the student looked.
            differs: whether student and expert say different things.
            kept: whether the student's answer stood, or would have without the draw.
            owed: whether it stood for want of budget only.
            inherited: whether the inherited answer that stood in the student's place and the expert differ; None where the student's stood.
        """
        errs = differs if inherited is None else inherited
        was_overdue = number in self._overdue
        if not was_overdue and number not in self._pending:
            return
        self._pending.pop(number, None)
        self._overdue.pop(number, None)
        for stretch in self._of(number):
            stretch.missing -= was_overdue
            stretch.audited += 1
            stretch.wrong += kept and errs
            stretch.owed += owed and errs
            stretch.inherited += bool(inherited)
        self._steadiness = self._steadiness.add(differs)
        if self._follower is not None:
            self._follower.add(math.inf if inherited else score, bool(inherited) or differs)
        self._turn()

    def state(self, now: float) -> LiveState:
        """Return what is known at `now` (monotonic seconds)."""
        self._lose_overdue(now)
        told = self._older or self._newer
        low, high = interval(ones=told.wrong, n=told.audited, missing=told.missing)
        return LiveState(
            risk=told.wrong / told.audited if told.audited else 0.0,
            low=low,
            high=high,
            audited=told.audited,
            missing=told.missing,
            pending=len(self._pending),
            is_censored=told.missing > CENSORED * told.settled,
            debt=told.owed / told.audited if told.audited else 0.0,
            threshold=self.threshold,
            start=self._threshold,
            epsilon=self._follower.epsilon if self._follower else None,
            drift=self._steadiness.state,
            disagreement=self._steadiness.disagreement,
            reference=self._steadiness.reference,
            evidence=self._steadiness.evidence,
            inherited=told.inherited / told.audited if told.audited else 0.0,
        )

    def _lose_overdue(self, now: float) -> None:
        while self._pending:
            number, drawn_at = next(iter(self._pending.items()))
            if now - drawn_at <= PATIENCE_S:
                return
            self.lost(number)

    def _of(self, number: int) -> list[Stretch]:
        return [each for each in (self._older, self._newer) if each is not None and number >= each.first]

    def _turn(self) -> None:
        """Let the newer stretch take the older one's place once it is as long as a window."""
        if self._newer.settled >= self._window:
            self._older, self._newer = self._newer, Stretch(first=self._drawn)
