"""How large the mean of yes-or-no values is, with an interval that may be looked at after every one of them. Pure.

A likelihood ratio for each of a few fixed odds ratios r: against "the mean is p" the evidence of n values with s ones is
r^s / (1 + p (r - 1))^n. If value k is 1 with probability p_k, given all before, this lies at p = the average of p_1 … p_n below a
martingale that starts at 1, since log(1 + p (r - 1)) is concave in p: so the mean may move, also by what was seen before.
The mean of the ratios' evidences reaches 2 / alpha with probability at most alpha / 2 (Ville 1939; sub-Bernoulli mixture of Howard, Ramdas,
McAuliffe and Sekhon, "Time-uniform Chernoff bounds", Probability Surveys 2020). Where it has not, p belongs to the interval.

What did not come in counts at its worst: as ones for the upper end, as zeros for the lower (Manski 2003), so that nothing that went
missing can make a figure look better.

Example:
    >>> low, high = interval(ones=10, n=500)
    >>> round(low, 3), round(high, 3)
    (0.006, 0.047)
"""

from __future__ import annotations

import math

ALPHA = 0.05
CENSORED = 0.01
"""Above this share of values that did not come an estimate is called censored."""
_RATIOS = (1.1, 1.2, 1.35, 1.6, 2.0, 3.0, 5.0, 10.0, 40.0, 1000.0)
"""Near 1 for many values and small differences, far from it for few and large ones."""
_STEPS = 40


def interval(*, ones: int, n: int, missing: int = 0, alpha: float = ALPHA) -> tuple[float, float]:
    """Return the interval of the average mean, at every n together with probability at least 1 - alpha.

    Args:
        ones: how many of the values that came are 1.
        n: how many values came.
        missing: how many belong to them and did not come.
        alpha: the chance that the interval ever misses.

    Returns:
        Lower and upper end, 0 to 1; (0, 1) before the first value.

    Raises:
        ValueError: counts that cannot be; a defect of the caller.
    """
    if not (0 <= ones <= n and missing >= 0 and 0.0 < alpha < 1.0):
        raise ValueError(f"{ones} ones of {n}, {missing} missing at alpha {alpha}")
    total = n + missing
    enough = math.log(2.0 / alpha)
    return _lower(ones, total, enough), 1.0 - _lower(n - ones, total, enough)


def _lower(ones: int, n: int, enough: float) -> float:
    """Return the lowest mean against which there is not yet evidence of `enough` (a logarithm)."""
    low, high = 0.0, ones / n if n else 0.0
    for _ in range(_STEPS if high > 0.0 else 0):
        middle = 0.5 * (low + high)
        if _evidence(ones, n, middle) >= enough:
            low = middle
        else:
            high = middle
    return low


def _evidence(ones: int, n: int, p: float) -> float:
    """Return the logarithm of the evidence that the mean lies above p."""
    each = [ones * math.log(ratio) - n * math.log1p(p * (ratio - 1.0)) for ratio in _RATIOS]
    most = max(each)
    return most + math.log(sum(math.exp(one - most) for one in each) / len(each))
