"""Student's t distribution: the quantile by which a small number of clusters is judged. Pure.

The tail is half the regularised incomplete beta function I(n / 2, 1 / 2; n / (n + t²)) (Abramowitz and Stegun, "Handbook of Mathematical
Functions", 26.7.1); the quantile is found by halving.

Example:
    >>> round(quantile(0.025, 10), 3)
    2.228
"""

from __future__ import annotations

from functools import lru_cache

from shared.deferral.beta import regularised

HALVINGS = 80


@lru_cache(maxsize=4096)
def quantile(probability: float, freedom: int) -> float:
    """Return the value that a t-distributed variable exceeds with a probability.

    Args:
        probability: above 0, at most 0.5.
        freedom: degrees of freedom, at least 1.
    """
    low, high = 0.0, 1.0
    while tail(high, freedom) > probability:
        low, high = high, 2.0 * high
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if tail(middle, freedom) > probability else (low, middle)
    return high


def tail(value: float, freedom: int) -> float:
    """Return the probability that a t-distributed variable exceeds a value of at least 0."""
    share = freedom / (freedom + value * value)
    return 0.5 * regularised(0.5 * freedom, 0.5, share) if share < 1.0 else 0.5
