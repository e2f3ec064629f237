"""The live risk of several devices together, from what each counted in its stretch. Pure.

Rules, in order:
1. Counts add up: the samples of all devices are one sequence in the order in which they came. Sample k errs with probability p_k, given
   all before it, on whichever device; the interval is about the average of the p_k. It is the same interval as one device's (see anytime)
   and holds for the same reason, also where devices see the same things: each stretch began without looking ahead. A sample without an
   answer counts at its worst, as there.
2. So the figure is a share of the audit samples: a device that draws more of its frames weighs more.
3. A mean can hide one bad device. The worst is told beside it: the device whose risk lies highest for sure (the highest lower end). It
   was looked for among all of them, so its interval is that of all devices together (a union bound: alpha is divided by their number).

Example:
    >>> both = pooled({"edge-1": Counts(audited=300, wrong=3), "edge-2": Counts(audited=100, wrong=9)})
    >>> round(both.risk, 3), both.worst.name
    (0.03, 'edge-2')
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import msgspec

from shared.deferral.anytime import ALPHA, interval


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Audit samples of a stretch: answered, kept and contradicted (`wrong`), of these for want of budget (`owed`), without an answer."""

    audited: int
    wrong: int = 0
    owed: int = 0
    missing: int = 0

    @property
    def risk(self) -> float:
        """The share of the answered ones that were kept and contradicted; 0 before the first."""
        return self.wrong / self.audited if self.audited else 0.0

    def __add__(self, other: Counts) -> Counts:
        """Return both together."""
        return Counts(
            audited=self.audited + other.audited,
            wrong=self.wrong + other.wrong,
            owed=self.owed + other.owed,
            missing=self.missing + other.missing,
        )

    def shares(self) -> dict[str, float | None]:
        """Return risk, risk debt and the share without an answer for people to read, rounded; None where nothing was counted."""
        settled = self.audited + self.missing
        return {
            "risk": round(self.risk, 6) if self.audited else None,
            "debt": round(self.owed / self.audited, 6) if self.audited else None,
            "censored_share": round(self.missing / settled, 6) if settled else None,
        }

    def interval(self, alpha: float = ALPHA) -> tuple[float, float]:
        """Return the interval of the risk, missing samples at their worst."""
        return _interval(self.wrong, self.audited, self.missing, alpha)


@functools.lru_cache(maxsize=16384)  # a large fleet is looked at every second, and few of its counts have changed
def _interval(wrong: int, audited: int, missing: int, alpha: float) -> tuple[float, float]:
    return interval(ones=wrong, n=audited, missing=missing, alpha=alpha)


class Worst(msgspec.Struct, frozen=True, kw_only=True):
    """The device whose risk lies highest for sure, with its share of the union bound."""

    name: str
    risk: float
    low: float
    high: float


class Pooled(msgspec.Struct, frozen=True, kw_only=True):
    """Several devices together; `worst` is None where nothing was counted."""

    counts: Counts
    risk: float
    low: float
    high: float
    worst: Worst | None


def pooled(devices: Mapping[str, Counts]) -> Pooled:
    """Return what the counts of these devices say together.

    Args:
        devices: by name; none is nothing known.
    """
    total = sum(devices.values(), Counts(audited=0))
    low, high = total.interval()
    return Pooled(counts=total, risk=total.risk, low=low, high=high, worst=_worst(devices))


def _worst(devices: Mapping[str, Counts]) -> Worst | None:
    seen = [name for name, counts in devices.items() if counts.audited]
    if not seen:
        return None
    name = max(seen, key=lambda one: (devices[one].interval()[0], devices[one].risk, one))
    low, high = devices[name].interval(ALPHA / len(devices))
    return Worst(name=name, risk=devices[name].risk, low=low, high=high)
