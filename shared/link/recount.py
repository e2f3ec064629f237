"""Counting a spool from its file, beside the device or after it: the proof that nothing was lost. Reads, never writes."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from shared.errors import StorageError
from shared.link.record import RecordKind, scan
from shared.link.retention import Waiting
from shared.link.segments import numbers, segment_path
from shared.link.space import Place

DISK_FULL = 28


class SpoolCounts(msgspec.Struct, frozen=True, kw_only=True):
    """A spool's durable bookkeeping, in cases: spooled = received + evicted + waiting_count.

    `declined` were never taken, so are not in spooled. `waiting` are inclusive ranges of sequences. `counters` is the detail:
    `spooled:<share>`, `received:<share>`, `evicted:<reason>:<share>`, `declined:<share>`, where shares are hard and audit and
    reasons are full, memory (there was no room while the disk could not be written) and damaged.
    """

    spool_id: str
    spooled: int
    received: int
    evicted: int
    declined: int
    waiting_count: int
    waiting_bytes: int
    waiting: tuple[tuple[int, int], ...]
    counters: dict[str, int]


def recount(path: Path) -> SpoolCounts:
    """Count a spool from its file, whether or not its device runs; changes nothing.

    Raises:
        StorageError: there is no spool, or it cannot be read.
    """
    if not path.exists():
        raise StorageError(f"there is no spool {path}.", "Has this device run with this state folder?")
    with translated(path, "read"):
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)
        try:
            db.execute("begin")
            counters = Counter[str](dict(db.execute("select name, n from counters")))
            about = dict(db.execute("select name, value from about"))
            table = "cases" if about.get("schema") == b"1" else "places"  # schema 1 kept cases as rows
            rows = dict(db.execute(f"select sequence, size from {table}"))  # noqa: S608 - one of the two names above
        finally:
            db.close()
        if "spool_id" not in about:
            raise StorageError(f"the spool {path} has no identity.", "Start its agent: it sets a damaged spool aside.")
        for item in _behind(path, Place(counters["tail_segment"], counters["tail_offset"])):
            if item.sequence not in rows and table == "places":
                rows[item.sequence] = item.size
                counters[f"spooled:{item.share.name.lower()}"] += 1
    return summarise(about["spool_id"], counters, sorted(rows.items()))


def _behind(path: Path, tail: Place) -> Iterator[Waiting]:
    """Yield the cases whose records stand behind the index's tail: a power cut took the index's last transactions."""
    folder = path.with_name(path.name + "-segments")
    for number in numbers(folder):
        if number >= tail.segment:
            try:
                data = memoryview(segment_path(folder, number).read_bytes())
            except FileNotFoundError:
                continue  # given back meanwhile: nothing waited in it
            for _, head in scan(data, tail.offset if number == tail.segment else 0):
                if head.kind is RecordKind.CASE and head.is_whole:
                    yield head.item


def summarise(spool_id: bytes, counters: Counter[str], rows: Sequence[tuple[int, int]]) -> SpoolCounts:
    """Make the summary of counters and of what waits: (sequence, size), by sequence."""
    total = Counter[str]()
    for name, n in counters.items():
        total[name.partition(":")[0]] += n
    return SpoolCounts(
        spool_id=spool_id.hex(),
        spooled=total["spooled"],
        received=total["received"],
        evicted=total["evicted"],
        declined=total["declined"],
        waiting_count=len(rows),
        waiting_bytes=sum(size for _, size in rows),
        waiting=_ranges(sequence for sequence, _ in rows),
        counters={name: n for name, n in counters.items() if ":" in name},
    )


def _ranges(sequences: Iterable[int]) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for sequence in sequences:
        if ranges and ranges[-1][1] == sequence - 1:
            ranges[-1] = (ranges[-1][0], sequence)
        else:
            ranges.append((sequence, sequence))
    return tuple(ranges)


@contextmanager
def translated(path: Path, action: str) -> Iterator[None]:
    """Turn what SQLite and the system say into one StorageError that names the file.

    Raises:
        StorageError: in place of any `sqlite3.Error` or `OSError` inside.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        is_full = "is full" in str(error) or getattr(error, "errno", 0) == DISK_FULL
        remedy = "Free some space." if is_full else "Check the disk and its permissions."
        raise StorageError(f"cannot {action} the spool {path}: {error}.", remedy) from error
