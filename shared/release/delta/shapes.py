"""The distribution that tables begin with: a two-sided geometric one, by its mean, as counts of classes of size. Pure, integers only.

Class 0 is zero, class k holds absolute values from 2^(k-1) to 2^k - 1. The mean |x| of P(x) ~ t^|x| is 2t / (1 - t^2), so
t = (sqrt(1 + m^2) - 1) / m, and P(|x| >= n) = 2 t^n / (1 + t). Worked out once with whole numbers, so it is the same everywhere.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from math import isqrt

import numpy as np
import numpy.typing as npt

_UNIT = 1 << 64
_QUARTERS = (1 << 64, 21936999301089678046, 26087635650665564424, 31023601929370129896)
"""2^(0, 1/4, 1/2, 3/4) in 64 bits."""


@lru_cache(maxsize=4)
def prior_counts(lowest: int, contexts: int, symbols: int, weight: int) -> npt.NDArray[np.int64]:
    """Return counts (contexts, symbols) of classes of size.

    Args:
        lowest: level of the first context's mean, in quarters of an octave; each further context is one quarter more.
        contexts: how many.
        symbols: classes; the last takes what is larger.
        weight: what the counts of a context add up to, about.
    """
    return np.array([_row(lowest + context, symbols, weight) for context in range(contexts)], np.int64)


def _row(level: int, symbols: int, weight: int) -> list[int]:
    mean = _QUARTERS[level % 4] << (level // 4) if level >= 0 else _QUARTERS[level % 4] >> -(level // 4)
    ratio = (isqrt(_UNIT * _UNIT + mean * mean) - _UNIT) * _UNIT // mean
    above = [_UNIT]  # P(class >= k)
    power = ratio
    for _ in range(1, symbols):
        above.append(2 * power * _UNIT // (_UNIT + ratio))
        power = power * power // _UNIT
    above.append(0)
    return [max((a - b) * weight >> 64, 1) for a, b in pairwise(above)]
