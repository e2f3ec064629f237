"""What the link costs on this machine: seal and open 30 KB, spool 30 KB cases one by one and in groups of 16, one case end to end."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from shared.link.spool import NewCase, Spool
from shared.wire.chunks import split
from shared.wire.envelope import SUITE_NAMES, Opener, Sealer
from shared.wire.keys import EpochKeys
from shared.wire.messages import Kind
from tests.bench.result import Result, conditions

PAYLOAD = os.urandom(30 << 10)


def run(*, full: bool) -> Result:
    """Measure; `full` takes ten times as many samples."""
    times = 10 if full else 1
    figures: dict[str, float] = {}
    for suite, name in SUITE_NAMES.items():
        figures |= _envelope(suite, name.lower().replace("-", "_"), times)
    for group in (1, 16):
        figures[f"spool_cases_per_s_group_{group}"] = _spool(group, 320 * times)
    return Result(name="link_small", figures=figures, conditions=conditions(payload_bytes=float(len(PAYLOAD))))


def _envelope(suite: int, name: str, times: int) -> dict[str, float]:
    keys = EpochKeys.from_prk(bytes(32))
    sealer, opener = Sealer(keys, epoch=1, suite=suite), Opener(keys, epoch=1, suite=suite)

    def seal() -> list[bytes]:
        parts = split(PAYLOAD)
        return [sealer.seal(Kind.CASE, part, sequence=1, index=index, count=len(parts)) for index, part in enumerate(parts)]

    sealed = seal()
    return {
        f"seal_30kb_us_{name}": _median_us(seal, 200 * times),
        f"open_30kb_us_{name}": _median_us(lambda: [opener.open(data) for data in sealed], 200 * times),
    }


def _median_us(action: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return round(statistics.median(taken) * 1e6, 2)


def _spool(group: int, count: int) -> float:
    with tempfile.TemporaryDirectory(dir=".") as folder:  # the checkout's disk: a temporary folder is often in memory
        spool = Spool(Path(folder) / "spool.db", Path(folder) / "spool.key", 1 << 30)
        spool.start()
        began = time.perf_counter()
        for _ in range(count // group):
            spool.append_many([NewCase(payload=PAYLOAD)] * group)
        taken = time.perf_counter() - began
        spool.stop()
    return round(count / taken, 1)
