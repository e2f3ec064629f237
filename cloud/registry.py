"""The registry: rounds, their steps, and the releases with their lineage. Rows, so that a killed worker goes on where it was.

A round is `requested`, `running`, then `done`, `refused` (the gates said no), `trial` (went through the gates and was not to be
published) or `failed` (with a reason). Its steps are rows that
become `done` with a result in the same transaction as their effect on the registry; a step that is done is never run again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from cloud.database import Database
from cloud.records import Release, Round, Step
from shared.errors import FederationError

SCHEMA = """
CREATE TABLE IF NOT EXISTS rounds (
  number INTEGER PRIMARY KEY AUTOINCREMENT, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', requested_by TEXT NOT NULL,
  created_at REAL NOT NULL, finished_at REAL
);
CREATE TABLE IF NOT EXISTS wishes (
  round INTEGER PRIMARY KEY REFERENCES rounds, regions TEXT NOT NULL, publish INTEGER NOT NULL, need INTEGER NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS one_open_round ON rounds ((1)) WHERE state IN ('requested', 'running');
CREATE TABLE IF NOT EXISTS steps (
  round INTEGER NOT NULL REFERENCES rounds, name TEXT NOT NULL, state TEXT NOT NULL, started_at REAL, finished_at REAL,
  result TEXT NOT NULL DEFAULT '{}', PRIMARY KEY (round, name)
);
CREATE TABLE IF NOT EXISTS releases (
  model TEXT NOT NULL, release INTEGER NOT NULL, role TEXT NOT NULL, parent INTEGER NOT NULL, round INTEGER NOT NULL,
  lineage TEXT NOT NULL, created_at REAL NOT NULL, PRIMARY KEY (model, release)
);
"""
OPEN = ("requested", "running")
_ROUNDS = """SELECT number, state, reason, requested_by, created_at, finished_at, coalesce(regions, '[]') AS regions,
coalesce(publish, 1) AS publish, coalesce(need, 0) AS need FROM rounds LEFT JOIN wishes ON wishes.round = rounds.number"""


class Registry:
    """Rounds, steps and releases in the cloud's file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def request_round(
        self, requested_by: str, *, now: float, regions: Sequence[str] = (), publish: bool = True, need: bool = False
    ) -> Round:
        """Ask for a round.

        Args:
            requested_by: who asks, or why it begins by itself.
            now: Unix seconds.
            regions: only these are asked to train; empty for whoever should.
            publish: False for a trial.
            need: ask only regions in need.

        Raises:
            FederationError: one is already open.
        """
        with self._database.transaction() as connection:
            open_round = connection.execute("SELECT number FROM rounds WHERE state IN (?, ?)", OPEN).fetchone()
            if open_round is not None:
                raise FederationError(f"round {open_round['number']} is still open.", "Wait until it has ended: terrace cloud round list.")
            cursor = connection.execute(
                "INSERT INTO rounds (state, requested_by, created_at) VALUES ('requested', ?, ?)", (requested_by, now)
            )
            number = int(cursor.lastrowid or 0)
            wish = (number, json.dumps(sorted(set(regions))), publish, need)
            connection.execute("INSERT INTO wishes (round, regions, publish, need) VALUES (?, ?, ?, ?)", wish)
        return self.round(number)

    def round(self, number: int) -> Round:
        """Return a round.

        Raises:
            FederationError: there is none of that number.
        """
        row = self._database.row(f"{_ROUNDS} WHERE number = ?", (number,))
        if row is None:
            raise FederationError(f"there is no round {number}.", "List them with: terrace cloud round list.")
        return _round(row)

    def rounds(self) -> list[Round]:
        """Return all rounds, newest first."""
        return [_round(row) for row in self._database.rows(f"{_ROUNDS} ORDER BY number DESC")]

    def open_round(self) -> Round | None:
        """Return the round that waits or runs, if any."""
        row = self._database.row(f"{_ROUNDS} WHERE state IN (?, ?)", OPEN)
        return _round(row) if row is not None else None

    def taught(self, region: str, *, since: float) -> list[Round]:
        """Return the rounds since a time (Unix seconds) that were for a region's sake, newest first.

        That is: it was to train in them, or they were asked for by need and failed before that was settled. Trials do not count.
        """
        rows = self._database.rows(f"{_ROUNDS} WHERE created_at >= ? ORDER BY number DESC", (since,))
        return [item for row in rows if (item := _round(row)).publish and self._is_for(item, region)]

    def _is_for(self, item: Round, region: str) -> bool:
        plans = [step.result.get("participants") for step in self.steps(item.number) if step.name == "train"]
        named = plans[0] if plans else None
        return region in named.values() if named is not None else item.need

    def begin(self, number: int) -> None:
        """Mark a round as running."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE rounds SET state = 'running' WHERE number = ? AND state = 'requested'", (number,))

    def end(self, number: int, state: str, reason: str, *, now: float) -> None:
        """Close a round as `done`, `refused`, `trial` or `failed`; an ended round stays as it is."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE rounds SET state = ?, reason = ?, finished_at = ? WHERE number = ? AND state IN (?, ?)",
                (state, reason, now, number, *OPEN),
            )

    def steps(self, number: int) -> list[Step]:
        """Return a round's steps in the order they began."""
        rows = self._database.rows("SELECT * FROM steps WHERE round = ? ORDER BY started_at, rowid", (number,))
        return [_step(row) for row in rows]

    def begin_step(self, number: int, name: str, *, now: float) -> Step:
        """Begin a step, or return it as it is when it began before."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO steps (round, name, state, started_at) VALUES (?, ?, 'running', ?)", (number, name, now)
            )
        row = self._database.row("SELECT * FROM steps WHERE round = ? AND name = ?", (number, name))
        if row is None:
            raise FederationError(f"step {name} of round {number} vanished.")
        return _step(row)

    def note_step(self, number: int, name: str, result: dict[str, Any]) -> None:
        """Keep what a running step has decided, so that a resumed one decides the same."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE steps SET result = ? WHERE round = ? AND name = ? AND state = 'running'", (json.dumps(result), number, name)
            )

    def finish_step(self, number: int, name: str, result: dict[str, Any], *, now: float) -> None:
        """Mark a step as done with its result."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE steps SET state = 'done', result = ?, finished_at = ? WHERE round = ? AND name = ?",
                (json.dumps(result), now, number, name),
            )

    def fail_step(self, number: int, name: str, reason: str, *, now: float) -> None:
        """Mark a step as failed."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE steps SET state = 'failed', result = ?, finished_at = ? WHERE round = ? AND name = ? AND state = 'running'",
                (json.dumps({"reason": reason}), now, number, name),
            )

    def add_release(self, release: Release) -> None:
        """Record a published release; recording it again changes nothing."""
        with self._database.transaction() as connection:
            connection.execute(
                """INSERT OR IGNORE INTO releases (model, release, role, parent, round, created_at, lineage)
                   VALUES (:model, :release, :role, :parent, :round, :created_at, :lineage)""",
                {**msgspec.to_builtins(release), "lineage": json.dumps(release.lineage)},
            )

    def releases(self, model: str | None = None) -> list[Release]:
        """Return the releases, newest first, of one family or of all."""
        if model is None:
            rows = self._database.rows("SELECT * FROM releases ORDER BY model, release DESC")
        else:
            rows = self._database.rows("SELECT * FROM releases WHERE model = ? ORDER BY release DESC", (model,))
        return [_release(row) for row in rows]


def _round(row: sqlite3.Row) -> Round:
    fields = {field: row[field] for field in Round.__struct_fields__}
    wish = {"regions": tuple(json.loads(row["regions"])), "publish": bool(row["publish"]), "need": bool(row["need"])}
    return Round(**{**fields, **wish})


def _step(row: sqlite3.Row) -> Step:
    fields = {field: row[field] for field in Step.__struct_fields__ if field != "result"}
    return Step(**fields, result=json.loads(row["result"]))


def _release(row: sqlite3.Row) -> Release:
    fields = {field: row[field] for field in Release.__struct_fields__ if field != "lineage"}
    return Release(**fields, lineage=json.loads(row["lineage"]))
