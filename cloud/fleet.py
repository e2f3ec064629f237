"""The fleet as its regions report it: regions with their node ids and counts, devices with their releases.

A region's node id in federation is given here, once, in the order regions were first seen; it is looked up by the name in
the region's certificate and by nothing else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from cloud import history
from cloud.database import Database
from cloud.records import Region
from cloud.timeline import happened
from shared.errors import FederationError
from shared.wire.reports import DeviceSummary, FleetReport

SCHEMA = """
CREATE TABLE IF NOT EXISTS regions (
  node INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, seen_at REAL NOT NULL, report BLOB,
  cases_learned INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS devices (
  region TEXT NOT NULL, name TEXT NOT NULL, seen_at REAL NOT NULL, summary BLOB NOT NULL, PRIMARY KEY (region, name)
);
"""
SCHEMA += history.SCHEMA  # a report is kept together with what happened since the last


class Fleet:
    """Regions and devices in the cloud's file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def seen(self, region: str, *, now: float) -> int:
        """Note that a region spoke and return its node id."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO regions (name, seen_at) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at",
                (region, now),
            )
            row = connection.execute("SELECT node FROM regions WHERE name = ?", (region,)).fetchone()
        return int(row["node"])

    def report(self, region: str, report: FleetReport, *, now: float) -> None:
        """Keep what a region says of itself and its devices, and add what happened since its last report to the history."""
        self.seen(region, now=now)
        own = msgspec.structs.replace(report, devices=())
        with self._database.transaction() as connection:
            before = {
                row["name"]: msgspec.json.decode(row["summary"], type=DeviceSummary)
                for row in connection.execute("SELECT name, summary FROM devices WHERE region = ?", (region,))
            }
            history.add(connection, region, happened(before, report), now=now)
            connection.execute("UPDATE regions SET report = ? WHERE name = ?", (msgspec.json.encode(own), region))
            connection.executemany(
                "INSERT OR REPLACE INTO devices (region, name, seen_at, summary) VALUES (?, ?, ?, ?)",
                [(region, device.name, device.seen_at, msgspec.json.encode(device)) for device in report.devices],
            )

    def require(self, names: Sequence[str]) -> None:
        """Check that each of these regions has called before.

        Raises:
            FederationError: one has not; the message names those that have.
        """
        known = {region.name for region in self.regions()}
        for name in names:
            if name not in known:
                raise FederationError(f"no region {name} has ever called.", f"Known: {', '.join(sorted(known)) or 'none'}.")

    def learned(self, counts: dict[str, int]) -> None:
        """Note how many training cases each region had when it took part in a finished round."""
        with self._database.transaction() as connection:
            connection.executemany("UPDATE regions SET cases_learned = ? WHERE name = ?", [(n, name) for name, n in counts.items()])

    def regions(self) -> list[Region]:
        """Return all regions by node id."""
        return [_region(row) for row in self._database.rows("SELECT * FROM regions ORDER BY node")]

    def devices(self) -> list[tuple[str, DeviceSummary]]:
        """Return (region, device) of all devices, sorted by name."""
        rows = self._database.rows("SELECT region, summary FROM devices ORDER BY region, name")
        return [(row["region"], msgspec.json.decode(row["summary"], type=DeviceSummary)) for row in rows]

    def summary(self) -> dict[str, Any]:
        """Return the fleet as plain JSON values."""
        return {
            "regions": [msgspec.to_builtins(region) for region in self.regions()],
            "devices": [{"region": region, **msgspec.to_builtins(device)} for region, device in self.devices()],
        }


def _region(row: sqlite3.Row) -> Region:
    report = msgspec.json.decode(row["report"], type=FleetReport) if row["report"] is not None else None
    return Region(name=row["name"], node=row["node"], seen_at=row["seen_at"], report=report, cases_learned=row["cases_learned"])
