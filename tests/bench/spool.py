"""The spool on this checkout's disk: durable cases a second, flash bytes per stored byte, reopening 100,000 cases; SQLite rows beside it.

Rates hang on what the disk needs for a sync, so a bare file that is written and synced likewise is measured in the same run, and so
is what the spool was before: cases as rows of SQLite. Runs of the three take turns. Bytes are the kernel's count of what this
process wrote to storage (/proc/self/io, without the file system's own journal).
"""

from __future__ import annotations

import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from shared.link.spool import NewCase, Spool
from tests.bench.result import Result, conditions

SIZE = 30 << 10
PAYLOAD = os.urandom(SIZE)
WAITING = 100_000
SMALL = 1000


class Store(NamedTuple):
    """Something that takes groups of payloads durably, and how to end it."""

    append: Callable[[int], None]
    stop: Callable[[], None]


def run(*, full: bool) -> Result:
    """Measure; `full` takes more and longer turns."""
    turns, cases = (9, 1600) if full else (5, 480)
    figures: dict[str, float] = {}
    for group, name in ((16, ""), (1, "_one_by_one")):
        rates: dict[str, list[tuple[float, float]]] = {"spool": [], "rows": [], "bare": []}
        for _ in range(turns):
            for what, make in (("spool", _spool), ("rows", _rows), ("bare", _bare)):
                rates[what].append(_append(make, group, cases))
        figures |= {
            f"spool_items_per_s_30kb{name}": _median(rates["spool"], 0),
            f"sqlite_rows_items_per_s_30kb{name}": _median(rates["rows"], 0),
            f"bare_file_items_per_s_30kb{name}": _median(rates["bare"], 0),
            f"flash_bytes_per_stored_byte{name}": _median(rates["spool"], 1),
            f"sqlite_rows_flash_bytes_per_stored_byte{name}": _median(rates["rows"], 1),
        }
    figures |= _overfull(cases * 2) | _reopen()
    return Result(name="spool", figures=figures, conditions=conditions(payload_bytes=float(SIZE), turns=float(turns), cases=float(cases)))


def _append(make: Callable[[Path], Store], group: int, cases: int) -> tuple[float, float]:
    """Return cases a second, and bytes written per byte stored."""
    with tempfile.TemporaryDirectory(dir=".") as folder:  # the checkout's disk: a temporary folder is often in memory
        store = make(Path(folder))
        written, began = _bytes_written(), time.perf_counter()
        for _ in range(cases // group):
            store.append(group)
        taken = time.perf_counter() - began
        written = _bytes_written() - written
        store.stop()
    return cases / taken, written / (cases * SIZE)


def _spool(folder: Path, capacity: int = 1 << 30) -> Store:
    spool = Spool(folder / "spool.db", folder / "spool.key", capacity)
    spool.start()

    def append(group: int) -> None:
        assert spool.append_many([NewCase(payload=PAYLOAD)] * group).is_durable

    return Store(append, spool.stop)


def _rows(folder: Path) -> Store:
    """Return what schema 1 was, less its sealing: a row per case, a synced transaction per group."""
    db = sqlite3.connect(folder / "rows.db", isolation_level=None)
    for pragma in ("journal_mode = wal", "synchronous = full", "journal_size_limit = 16777216"):
        db.execute(f"pragma {pragma}")
    db.execute("create table cases (sequence integer primary key, is_audit integer, value real, size integer, body blob)")

    def append(group: int) -> None:
        db.execute("begin immediate")
        db.executemany("insert into cases (is_audit, value, size, body) values (?, ?, ?, ?)", [(0, 0.5, SIZE, PAYLOAD)] * group)
        db.execute("commit")

    return Store(append, db.close)


def _bare(folder: Path) -> Store:
    file = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT)

    def append(group: int) -> None:
        os.write(file, PAYLOAD * group)
        os.fdatasync(file)

    return Store(append, lambda: os.close(file))


def _overfull(cases: int) -> dict[str, float]:
    """A spool a quarter as large as what comes: the least valuable go, holes are written anew."""
    chance = random.Random(0)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        spool = Spool(Path(folder) / "spool.db", Path(folder) / "spool.key", cases * SIZE // 4)
        spool.start()
        written = _bytes_written()
        largest = 0
        for _ in range(cases // 16):
            spool.append_many([NewCase(payload=PAYLOAD, value=chance.random(), is_audit=chance.random() < 0.1) for _ in range(16)])
            largest = max(largest, spool.state().disk_bytes)
        written = _bytes_written() - written
        stored = spool.state().bytes_stored
        spool.stop()
    return {"flash_bytes_per_stored_byte_overfull": written / stored, "disk_bytes_per_capacity_byte_overfull": largest / (cases * SIZE / 4)}


def _reopen() -> dict[str, float]:
    """Open a spool of 100,000 small cases as it is, without its index, and drain it."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder) / "spool.db"
        spool = Spool(path, Path(folder) / "spool.key", 1 << 30)
        spool.start()
        for _ in range(WAITING // 500):
            spool.append_many([NewCase(payload=PAYLOAD[:SMALL], value=n / 500, is_audit=n % 8 == 0) for n in range(500)])
        spool.stop()
        opened = [_opened(spool) for _ in range(5)]
        path.unlink()
        rebuilt = _opened(spool)[0]
        spool.start()
        full = spool.state().disk_bytes
        sequences = [item.sequence for item in spool.waiting()]
        for first in range(0, WAITING, 64):
            spool.remove(sequences[first : first + 64])
        left = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        spool.stop()
    return {
        "reopen_100000_cases_s": statistics.median(wall for wall, _ in opened),
        "reopen_100000_cases_cpu_s": statistics.median(cpu for _, cpu in opened),
        "reopen_100000_cases_without_index_s": rebuilt,
        "bytes_left_after_draining": float(left),
        "bytes_before_draining": float(full),
    }


def _opened(spool: Spool) -> tuple[float, float]:
    """Return seconds on the clock and of this process's CPU."""
    began, cpu = time.perf_counter(), time.process_time()
    spool.start()
    taken = time.perf_counter() - began, time.process_time() - cpu
    assert len(spool.waiting()) == WAITING
    spool.stop()
    return taken


def _median(pairs: list[tuple[float, float]], which: int) -> float:
    return round(statistics.median(pair[which] for pair in pairs), 3)


def _bytes_written() -> int:
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines())
    return int(lines["write_bytes"])
