"""How long a picture takes, per hardware profile: the full-precision file and the INT8 one by turns, on this machine and no other.

A profile that this machine does not fit is listed with the reason and without a figure: a figure of another machine would be a guess.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from shared.engines.base import Batch, Engine
from shared.errors import TerraceError
from shared.hwprofile import look
from shared.hwprofile.engine import engine_maker
from shared.hwprofile.fit import check
from shared.hwprofile.profile import Profile

LONGEST_S = 4.0
FEWEST_PAIRS, MOST_PAIRS = 8, 200


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """One profile: milliseconds of single pictures (median and 99th percentile) of both files, and how many times faster INT8 is.

    `why_not` says why nothing was measured; without an INT8 file its figures are 0.
    """

    profile: str
    why_not: str = ""
    fp32_p50_ms: float = 0.0
    fp32_p99_ms: float = 0.0
    int8_p50_ms: float = 0.0
    int8_p99_ms: float = 0.0
    speedup: float = 0.0


def of_profiles(fp32: Path, int8: Path | None, pictures: Sequence[Batch], profiles: Sequence[Profile]) -> list[Latency]:
    """Measure every profile that fits this machine.

    Args:
        fp32: the full-precision file.
        int8: the INT8 file, where there is one.
        pictures: prepared single pictures, float32 (1, C, H, W).
        profiles: those of interest.
    """
    machine = look.machine()
    found = []
    for profile in profiles:
        unfit = [one.what for one in check(profile, machine) if not one.ok]
        found.append(
            Latency(profile=profile.name, why_not=f"not so here: {unfit[0]}") if unfit else _measured(fp32, int8, pictures, profile)
        )
    return found


def _measured(fp32: Path, int8: Path | None, pictures: Sequence[Batch], profile: Profile) -> Latency:
    with tempfile.TemporaryDirectory() as cache:
        make = engine_maker(profile, cache=Path(cache))
        engines: list[Engine] = []
        try:
            engines = [make(path) for path in (fp32, int8) if path is not None]
            times = pairs(engines, [pictures] * len(engines))
        except TerraceError as error:
            return Latency(profile=profile.name, why_not=error.message)
        finally:
            for engine in engines:
                engine.close()
    slow = times[0]
    if int8 is None:
        return Latency(profile=profile.name, fp32_p50_ms=middle(slow), fp32_p99_ms=late(slow))
    return Latency(
        profile=profile.name,
        fp32_p50_ms=middle(slow),
        fp32_p99_ms=late(slow),
        int8_p50_ms=middle(times[1]),
        int8_p99_ms=late(times[1]),
        speedup=statistics.median(one / other for one, other in zip(*times, strict=True)),
    )


def pairs(engines: Sequence[Engine], pictures: Sequence[Sequence[Batch]]) -> list[list[float]]:
    """Return seconds per run for each engine, taken by turns so that whatever else the machine does meets all.

    Args:
        engines: those to compare.
        pictures: the same prepared pictures for each engine, in the size it takes.
    """
    times: list[list[float]] = [[] for _ in engines]
    for engine, own in zip(engines, pictures, strict=True):
        engine.run(own[0])
    began = time.perf_counter()
    while len(times[0]) < MOST_PAIRS and (len(times[0]) < FEWEST_PAIRS or time.perf_counter() - began < LONGEST_S):
        turn = len(times[0])
        for spent, engine, own in zip(times, engines, pictures, strict=True):
            begin = time.perf_counter()
            engine.run(own[turn % len(own)])
            spent.append(time.perf_counter() - begin)
    return times


def middle(seconds: Sequence[float]) -> float:
    """Return the median in milliseconds."""
    return statistics.median(seconds) * 1e3


def late(seconds: Sequence[float]) -> float:
    """Return the 99th percentile in milliseconds: the slowest of fewer than a hundred."""
    return sorted(seconds)[min(len(seconds) - 1, int(0.99 * len(seconds)))] * 1e3
