"""What a run of measured times comes to. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import msgspec


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Times of one batch size: milliseconds of a run at the median and the 99th percentile, frames a second, how often it was run."""

    batch: int
    p50_ms: float
    p99_ms: float
    frames_per_s: float
    runs: int


def summarise(batch: int, seconds: Sequence[float]) -> Timing:
    """Return what times of one batch size come to; the percentiles are of the nearest rank."""
    ordered = sorted(seconds)
    middle = statistics.median(ordered)
    last = ordered[max(0, math.ceil(0.99 * len(ordered)) - 1)]
    return Timing(
        batch=batch, p50_ms=round(1e3 * middle, 3), p99_ms=round(1e3 * last, 3), frames_per_s=round(batch / middle, 1), runs=len(ordered)
    )


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Return how many times as fast the second of two is: the median over paired runs, so that other load meets both."""
    return round(statistics.median(one / other for one, other in zip(slow, fast, strict=True)), 2)
