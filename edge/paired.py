"""Is a release worse than the one before it? Both are run on the same audit samples, and the expert's answers tell. Pure.

Rules, in order:
1. What is compared is the same frames: a change of light makes both worse and so neither of them.
2. Each sample counts +1 when only the new release is wrong, -1 when only the one before is, 0 otherwise; one sample per unit of a stream
   (the caller sees to that), since the frames of one board err together.
3. The hypothesis is "on average the new release loses at most `TOLERATED`". It is given up when the evidence of a bet against it
   reaches 1/alpha: with a release that is as good that ever happens with probability at most alpha, however often one looks and
   however long one watches (shared.deferral.wager, Ville's inequality).

Example:
    >>> paired = Paired.fresh()
    >>> for _ in range(12): paired = paired.add(agrees=False, agreed_before=True)
    >>> paired.is_worse, paired.words()
    (True, 'it agrees with the expert on 0 % of 12 audit samples, 100 % before')
"""

from __future__ import annotations

import msgspec

from shared.deferral.wager import Wager

ALPHA = 0.01
"""Largest probability that a release which is as good is taken for worse, over its whole probation and watch."""
TOLERATED = 0.02
"""Loss of agreement that is no reason to fall back (share of samples)."""


class Paired(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of two releases on the same audit samples: how many, on how many each agreed with the expert, and the evidence."""

    wager: Wager
    audited: int = 0
    agreed: int = 0
    agreed_before: int = 0
    lost: int = 0
    """Samples on which only the release before agreed."""

    @property
    def won(self) -> int:
        """Samples on which only the new release agreed."""
        return self.lost + self.agreed - self.agreed_before

    @classmethod
    def fresh(cls) -> Paired:
        """Return a comparison that has seen nothing."""
        return cls(wager=Wager.of(TOLERATED, lowest=-1.0))

    @property
    def is_worse(self) -> bool:
        """Whether the new release is worse beyond reasonable doubt (rule 3)."""
        return self.wager.evidence >= 1.0 / ALPHA

    def add(self, *, agrees: bool, agreed_before: bool) -> Paired:
        """Return the comparison after a sample on which the new release and the one before agree with the expert or not."""
        return Paired(
            wager=self.wager.add(float(agreed_before) - float(agrees)),
            audited=self.audited + 1,
            agreed=self.agreed + agrees,
            agreed_before=self.agreed_before + agreed_before,
            lost=self.lost + (agreed_before and not agrees),
        )

    def words(self) -> str:
        """Return the comparison in words, as a reason to fall back."""
        if not self.audited:
            return "no audit sample has been answered"
        now, before = 100 * self.agreed / self.audited, 100 * self.agreed_before / self.audited
        return f"it agrees with the expert on {now:.0f} % of {self.audited} audit samples, {before:.0f} % before"
