"""The fleet's figures over time, in the cloud's file: what happened in buckets of three widths, each kept for its time and no longer.

Every report adds to one bucket of each width, in the transaction that keeps the report, so nothing is counted twice and there is nothing to
thin out later. A region takes at most 720 + 1,440 + 2,880 rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from cloud.database import Database
from cloud.timeline import COLUMNS, FIELDS, MOST_POINTS, OF_AUDITS, Tally, figures, merged, points, recent
from shared.errors import InputError

WIDTHS = {10: 720, 120: 1440, 1800: 2880}
"""Seconds of a bucket, and how many are kept: two hours, two days, two months."""
LONGEST_HOURS = 1440.0
RECENT_S = 900.0
FLEET = ""
"""The name under which the whole fleet's figures stand."""
_SUMS = ", ".join(f"{name} = {name} + excluded.{name}" for name in FIELDS)
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS history (
  width INTEGER NOT NULL, region TEXT NOT NULL, at INTEGER NOT NULL, {", ".join(f"{name} REAL NOT NULL" for name in FIELDS)},
  PRIMARY KEY (width, region, at)
) WITHOUT ROWID;
"""
_ADD = (
    f"INSERT INTO history (width, region, at, {', '.join(FIELDS)}) VALUES (?, ?, ?, {', '.join('?' * len(FIELDS))}) "  # noqa: S608 - names
    f"ON CONFLICT (width, region, at) DO UPDATE SET {_SUMS}"
)


def add(connection: sqlite3.Connection, region: str, tally: Tally, *, now: float) -> None:
    """Add what happened to the current buckets, within the caller's transaction; buckets past their time go."""
    values = msgspec.structs.astuple(tally)
    for width, kept in WIDTHS.items():
        at = int(now // width) * width
        connection.execute(_ADD, (width, region, at, *values))
        connection.execute("DELETE FROM history WHERE width = ? AND region = ? AND at <= ?", (width, region, at - width * kept))


class History:
    """Reading the figures over time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, hours: float, *, now: float) -> dict[str, Any]:
        """Return charts of the last hours: by region and, under the name "", of the fleet.

        Args:
            hours: how far to look back, up to 1,440 (two months).
            now: Unix seconds.

        Raises:
            InputError: hours is not in that range.
        """
        if not 0 < hours <= LONGEST_HOURS:
            raise InputError(f"{hours} hours are not kept.", f"Ask for more than 0 and up to {LONGEST_HOURS:.0f}.")
        width = next((width for width, kept in WIDTHS.items() if width * kept >= hours * 3600), max(WIDTHS))
        step = width * max(1, -(-int(hours * 3600) // (width * MOST_POINTS)))
        # a little from before, for the first points to look back on
        by_region = self._buckets(width, now - hours * 3600 - 10 * step)
        series = {name: points(merged(buckets, step)) for name, buckets in by_region.items()}
        start = now - hours * 3600
        return {
            "step_s": step, "from": start, "to": now, "columns": COLUMNS,
            "series": {name: [point for point in found if (point[0] or 0) >= start - step] for name, found in series.items()},
        }  # fmt: skip

    def recent(self, *, now: float) -> dict[str, dict[str, Any]]:
        """Return the newest figures by region and, under "", of the fleet; with frames per second over the last minute."""
        width = min(WIDTHS)
        found = {}
        for name, buckets in self._buckets(width, now - RECENT_S).items():
            minute = [(at, tally) for at, tally in buckets if at >= now - 60 - width]
            seconds = max(now - minute[0][0], 1.0) if minute else 1.0
            flow = sum((tally for _, tally in minute), Tally())
            both = {**figures(flow), **{key: value for key, value in figures(recent(buckets)).items() if key in OF_AUDITS}}
            found[name] = {**both, "frames_per_s": round(flow.frames / seconds, 1)}
        return found

    def _buckets(self, width: int, since: float) -> dict[str, list[tuple[float, Tally]]]:
        rows = self._database.rows("SELECT * FROM history WHERE width = ? AND at > ? ORDER BY at", (width, since))
        found: dict[str, list[tuple[float, Tally]]] = {FLEET: []} if rows else {}
        for row in rows:
            tally = Tally(**{name: _number(row[name]) for name in FIELDS})
            found.setdefault(row["region"], []).append((row["at"], tally))
        fleet: Sequence[tuple[float, Tally]] = [one for name, buckets in found.items() if name for one in buckets]
        return {**found, FLEET: merged(fleet, width)} if rows else {}


def _number(value: float) -> Any:
    return int(value) if value == int(value) else value
