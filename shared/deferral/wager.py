"""Evidence by betting: a sequential test of "the mean is at most `limit`" on bounded values, which may be looked at after every one. Pure.

Each value x is bet on with a factor 1 + b (x - limit), b ≥ 0 and small enough that the factor stays positive. While the hypothesis
holds (the mean of x, given all before, is at most `limit`), no bet gains on average, whatever else depends on what.

- *Once begun* (`restarting` false): capital starts at 1 and is a non-negative supermartingale, so that by Ville's inequality (1939) it
  ever reaches 1/alpha with probability at most alpha. See Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
  betting" (JRSS B, 2024).
- *Restarting*: one new unit of capital is put in before each value, for a change that comes at an unknown time. What is expected after
  n values is at most n, so 1/alpha is reached within n values with probability at most n·alpha, and on average not before 1/alpha
  values (the Shiryaev-Roberts e-detector of Shin, Ramdas and Rinaldo, "E-detectors", NEJSDS 2024).

The size of the bet is not known beforehand, so several are placed beside each other with equal shares; their mean is again such a capital.

Example:
    >>> wager = Wager.of(0.1)
    >>> for _ in range(6): wager = wager.add(1.0)
    >>> wager.evidence > 1000
    True
"""

from __future__ import annotations

import msgspec

SHARES = (0.05, 0.1, 0.2, 0.4, 0.65, 0.9)
"""Sizes of the bets, as shares of the largest that is allowed. For values 0 and 1 the share f is best against a mean of p + f (1 - p)."""
LARGEST = 1e12
"""Capital is cut off here: it can only make the test later, and numbers stay numbers."""


class Wager(msgspec.Struct, frozen=True, kw_only=True):
    """The capital of each bet against "the mean is at most `limit`", for values from `lowest` on.

    The largest bet is 1 / (limit - lowest): with it the lowest value would lose everything.
    """

    limit: float
    lowest: float = 0.0
    restarting: bool = False
    capital: tuple[float, ...] = ()

    @classmethod
    def of(cls, limit: float, *, lowest: float = 0.0, restarting: bool = False) -> Wager:
        """Return a wager that has seen nothing.

        Raises:
            ValueError: `limit` does not lie above `lowest`; a defect of the caller.
        """
        if not limit > lowest:
            raise ValueError(f"a limit of {limit} does not lie above {lowest}")
        return cls(limit=limit, lowest=lowest, restarting=restarting, capital=(0.0 if restarting else 1.0,) * len(SHARES))

    @property
    def evidence(self) -> float:
        """The capital, as a factor against the hypothesis; 1 says nothing."""
        return sum(self.capital) / len(self.capital) if self.capital else 1.0

    def add(self, value: float) -> Wager:
        """Return the wager after a value (at least `lowest`)."""
        widest, fresh = 1.0 / (self.limit - self.lowest), 1.0 if self.restarting else 0.0
        grown = (
            (before + fresh) * (1.0 + share * widest * (value - self.limit)) for before, share in zip(self.capital, SHARES, strict=True)
        )
        return msgspec.structs.replace(self, capital=tuple(min(LARGEST, one) for one in grown))
