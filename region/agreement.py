"""Live agreement: per device and student release, how often student and expert say the same on audit samples; and the drift watch.

Both lie in the vault's file and are written in the transaction that stores the answers, so each case counts once and a restart forgets
nothing. What is told is read from these few rows, never by going through the cases.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

from region.database import Database
from region.schema import TRAIN
from region.watch import Judged, Rules, Watch, after
from shared.wire.reports import MOST_AUDITED_RELEASES, DriftState, ReleaseAudit

WATCH = "drift"
MOST_STREAMS = 4096
_ADD = """
INSERT INTO audits (device, release, audited, agreed, kept, kept_wrong) VALUES (?, ?, 1, ?, ?, ?)
ON CONFLICT (device, release) DO UPDATE SET audited = audited + 1, agreed = agreed + excluded.agreed, kept = kept + excluded.kept,
kept_wrong = kept_wrong + excluded.kept_wrong
"""
_PRUNE = (
    "DELETE FROM audits WHERE device = ? AND release NOT IN (SELECT release FROM audits WHERE device = ? ORDER BY release DESC LIMIT ?)"
)


class Agreement:
    """The counts and the watch of one vault.

    Args:
        database: the vault's, or one open for reading only.
        rules: of the drift watch.
    """

    def __init__(self, database: Database, rules: Rules | None = None) -> None:
        self._database = database
        self._rules = rules or Rules()
        self._units: OrderedDict[tuple[str, str], str] = OrderedDict()

    def note(self, connection: sqlite3.Connection, judged: Sequence[Judged], *, now: float) -> None:
        """Count newly answered audit samples, inside the transaction that stores their answers.

        Args:
            connection: the transaction's.
            judged: the samples.
            now: Unix seconds.
        """
        connection.executemany(_ADD, [(one.device, one.release, one.agrees, one.kept, one.kept and not one.agrees) for one in judged])
        connection.executemany(_PRUNE, [(device, device, MOST_AUDITED_RELEASES) for device in {one.device for one in judged}])
        fresh = [one for one in judged if self._is_new_unit(one)]
        if not fresh:
            return
        row = connection.execute("SELECT value FROM meta WHERE name = ?", (WATCH,)).fetchone()
        watch = _decoded(row)
        for one in fresh:
            watch = after(watch, one, self._rules, now=now)
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (WATCH, msgspec.msgpack.encode(watch)))

    def watch(self) -> Watch:
        """Return the drift watch as it stands.

        Raises:
            StorageError: the vault cannot be read.
        """
        rows = self._database.rows("SELECT value FROM meta WHERE name = ?", (WATCH,))
        return _decoded(rows[0] if rows else None)

    def drift(self) -> DriftState:
        """Return what is told of drift.

        Raises:
            StorageError: the vault cannot be read.
        """
        watch = self.watch()
        return watch.state(cases_since=self._cases_since(watch.since) if watch.alarm else 0)

    def audits(self) -> dict[str, tuple[ReleaseAudit, ...]]:
        """Return the counts by device, the newest releases last.

        Raises:
            StorageError: the vault cannot be read.
        """
        found: defaultdict[str, list[ReleaseAudit]] = defaultdict(list)
        rows = self._database.rows("SELECT device, release, audited, agreed, kept, kept_wrong FROM audits ORDER BY device, release")
        for device, release, audited, agreed, kept, kept_wrong in rows:
            found[device].append(ReleaseAudit(release=release, audited=audited, agreed=agreed, kept=kept, kept_wrong=kept_wrong))
        return {device: tuple(releases) for device, releases in found.items()}

    def _cases_since(self, since: float) -> int:
        statement = "SELECT count(*) FROM cases WHERE part = ? AND answered_at IS NOT NULL AND received_at >= ?"
        return int(self._database.rows(statement, (TRAIN, since))[0][0])

    def _is_new_unit(self, one: Judged) -> bool:
        """Tell whether this is the first sample of its unit in a row; kept in memory, a restart costs at most one sample per stream."""
        stream = (one.device, one.stream)
        is_new = self._units.pop(stream, None) != one.unit
        self._units[stream] = one.unit
        if len(self._units) > MOST_STREAMS:
            self._units.popitem(last=False)
        return is_new


def _decoded(row: Any) -> Watch:
    try:
        return msgspec.msgpack.decode(row[0], type=Watch) if row is not None else Watch()
    except msgspec.MsgspecError:
        return Watch()  # of a later version: learned anew, which costs the reference's samples
