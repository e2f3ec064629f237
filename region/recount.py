"""Counting a vault from its file alone: no key, no daemon, no counter believed that rows can contradict."""

from __future__ import annotations

from pathlib import Path

import msgspec

from region.database import Database


class DeviceRecount(msgspec.Struct, frozen=True, kw_only=True):
    """One device's cases as they lie in the file; `sequences` are inclusive ranges by the spool they came from (hex)."""

    cases: int
    audit: int
    answered: int
    sequences: dict[str, tuple[tuple[int, int], ...]] = {}


class Recount(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says.

    `cases_stored` and `cases_answered` are of all times: rows that lie there plus those that retention dropped. `cases_doubled`
    counts rows with the key of another row, `digests_conflicting` cases refused because their key came with another payload.
    """

    cases_stored: int
    cases_answered: int
    cases_held: int
    cases_unanswered: int
    cases_refused: int
    cases_dropped: int
    cases_doubled: int
    digests_conflicting: int
    bytes_held: int
    vault_id: str
    devices: dict[str, DeviceRecount]


def recount(path: Path) -> Recount:
    """Count a vault file; the daemon may run or not.

    Raises:
        StorageError: there is no such file, or it is damaged.
    """
    database = Database(path, "", read_only=True)
    database.start()
    try:
        return _recount(database)
    finally:
        database.stop()


def _recount(database: Database) -> Recount:
    counters: dict[str, int] = dict(database.rows("SELECT name, value FROM counters"))
    meta: dict[str, bytes] = dict(database.rows("SELECT name, value FROM meta"))
    by_device = database.rows(
        "SELECT device, count(*), sum(is_audit), count(answered_at), count(refused), sum(size) FROM cases GROUP BY device"
    )
    doubled = database.rows(
        "SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM cases GROUP BY device, spool, sequence HAVING n > 1)"
    )[0][0]
    sequences = _sequences(database)
    held, answered = sum(row[1] for row in by_device), sum(row[3] for row in by_device)
    dropped = counters.get("dropped", 0)
    return Recount(
        cases_stored=held + dropped,
        cases_answered=answered + dropped - counters.get("dropped_unanswered", 0),
        cases_held=held,
        cases_unanswered=held - answered,
        cases_refused=sum(row[4] for row in by_device),
        cases_dropped=dropped,
        cases_doubled=doubled,
        digests_conflicting=counters.get("conflict", 0),
        bytes_held=sum(row[5] for row in by_device),
        vault_id=meta.get("vault_id", b"").decode(),
        devices={row[0]: DeviceRecount(cases=row[1], audit=row[2], answered=row[3], sequences=sequences[row[0]]) for row in by_device},
    )


def _sequences(database: Database) -> dict[str, dict[str, tuple[tuple[int, int], ...]]]:
    """Return the sequences that lie in `cases`, as ranges, by device and spool."""
    found: dict[str, dict[str, list[tuple[int, int]]]] = {}
    for device, spool, sequence in database.rows("SELECT DISTINCT device, spool, sequence FROM cases ORDER BY device, spool, sequence"):
        ranges = found.setdefault(device, {}).setdefault(bytes(spool).hex(), [])
        if ranges and ranges[-1][1] == sequence - 1:
            ranges[-1] = (ranges[-1][0], sequence)
        else:
            ranges.append((sequence, sequence))
    return {device: {spool: tuple(ranges) for spool, ranges in spools.items()} for device, spools in found.items()}
