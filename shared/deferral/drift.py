"""Drift: do student and expert disagree more than they did at first? A sequential test on answered audit samples. Pure.

Rules, in order:
1. Audit samples are drawn at random before any gate, so their disagreement is that of all frames. One sample per unit is judged by
   the caller: the next frame of the same board says nothing new.
2. The reference is the disagreement of the first samples. What is tested against is higher: by `slack`, or by as much as those few
   samples leave open (exact bound, 95 %), whichever is more.
3. Alarm when the evidence of a restarting wager reaches 1/alpha (see wager): on average at least 1/alpha samples lie between two false
   alarms, and the probability of one within n samples is at most n·alpha, also when the disagreement sits exactly at the limit; below
   it, far less.
4. The alarm ends in the same manner: when "the disagreement is still at least half-way up from the reference to what was alarming"
   has become as unbelievable.

Not here: which samples (the region's watch), what an alarm leads to.

Example:
    >>> detector = DriftDetector.of(reference=0.05, slack=0.05, alpha=1e-4)
    >>> for _ in range(12): detector = detector.add(True)
    >>> detector.alarm
    True
"""

from __future__ import annotations

import msgspec

from shared.deferral.risk import bound
from shared.deferral.wager import Wager

UNCERTAIN = 0.05
"""The probability with which the reference's samples may have looked better than they are."""
HIGHEST_LIMIT = 0.95


class DriftDetector(msgspec.Struct, frozen=True, kw_only=True):
    """The test while there is no alarm: `reference` and `slack` are shares (0 to 1), `alpha` as in rule 3."""

    reference: float
    slack: float
    alpha: float
    wager: Wager

    @classmethod
    def of(cls, *, reference: float, slack: float, alpha: float) -> DriftDetector:
        """Return a detector that has seen nothing."""
        wager = Wager.of(min(HIGHEST_LIMIT, max(reference + slack, 1e-3)), restarting=True)
        return cls(reference=reference, slack=slack, alpha=alpha, wager=wager)

    @property
    def limit(self) -> float:
        """The disagreement that is still no drift."""
        return self.wager.limit

    @property
    def evidence(self) -> float:
        """How much speaks against "nothing has changed", as a factor."""
        return self.wager.evidence

    @property
    def alarm(self) -> bool:
        """Whether that is enough."""
        return self.evidence >= 1.0 / self.alpha

    def add(self, wrong: bool) -> DriftDetector:
        """Return the detector after a sample on which student and expert disagree (`wrong`) or agree."""
        return msgspec.structs.replace(self, wager=self.wager.add(float(wrong)))


class RecoveryDetector(msgspec.Struct, frozen=True, kw_only=True):
    """The test while there is an alarm: whether the disagreement has come back below `level` (rule 4)."""

    level: float
    alpha: float
    wager: Wager

    @classmethod
    def of(cls, *, reference: float, alarming: float, alpha: float) -> RecoveryDetector:
        """Return a detector that has seen nothing; `alarming` is the disagreement that raised the alarm."""
        level = min(HIGHEST_LIMIT, max(0.5 * (reference + alarming), reference + 0.01))
        return cls(level=level, alpha=alpha, wager=Wager.of(1.0 - level, restarting=True))

    @property
    def evidence(self) -> float:
        """How much speaks against "it is as bad as that still", as a factor."""
        return self.wager.evidence

    @property
    def is_back(self) -> bool:
        """Whether that is enough."""
        return self.evidence >= 1.0 / self.alpha

    def add(self, wrong: bool) -> RecoveryDetector:
        """Return the detector after a sample."""
        return msgspec.structs.replace(self, wager=self.wager.add(float(not wrong)))


def slack_of(wrong: int, samples: int, *, slack: float) -> float:
    """Return what is allowed above the disagreement of the reference's samples (rule 2), as a share."""
    share = wrong / samples if samples else 0.0
    return max(slack, bound(wrong, samples, UNCERTAIN) - share)
