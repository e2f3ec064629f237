"""The registry: rounds, their steps, and the releases with their lineage. Rows, so that a killed worker goes on where it was.

A round is `requested`, `running`, then `done`, `refused` (the gates said no) or `failed` (with a reason). Its steps are rows that
become `done` with a result in the same transaction as their effect on the registry; a step that is done is never run again.
"""

from __future__ import annotations

import json
import sqlite3
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


class Registry:
    """Rounds, steps and releases in the cloud's file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def request_round(self, requested_by: str, *, now: float) -> Round:
        """Ask for a round.

        Raises:
            FederationError: one is already open.
        """
        with self._database.transaction() as connection:
            open_round = connection.execute("SELECT number FROM rounds WHERE state IN (?, ?)", OPEN).fetchone()
            if open_round is not None:
                raise FederationError(
                    f"round {open_round['number']} is still open.", "Wait until it has ended: terrace cloud round list."
                )
            cursor = connection.execute(
                "INSERT INTO rounds (state, requested_by, created_at) VALUES ('requested', ?, ?)", (requested_by, now)
            )
            number = int(cursor.lastrowid or 0)
        return self.round(number)

    def round(self, number: int) -> Round:
        """Return a round.

        Raises:
            FederationError: there is none of that number.
        """
        row = self._database.row("SELECT * FROM rounds WHERE number = ?", (number,))
        if row is None:
            raise FederationError(f"there is no round {number}.", "List them with: terrace cloud round list.")
        return _round(row)

    def rounds(self) -> list[Round]:
        """Return all rounds, newest first."""
        return [_round(row) for row in self._database.rows("SELECT * FROM rounds ORDER BY number DESC")]

    def open_round(self) -> Round | None:
        """Return the round that waits or runs, if any."""
        row = self._database.row("SELECT * FROM rounds WHERE state IN (?, ?)", OPEN)
        return _round(row) if row is not None else None

    def begin(self, number: int) -> None:
        """Mark a round as running."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE rounds SET state = 'running' WHERE number = ? AND state = 'requested'", (number,))

    def end(self, number: int, state: str, reason: str, *, now: float) -> None:
        """Close a round as `done`, `refused` or `failed`; an ended round stays as it is."""
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
    return Round(**{field: row[field] for field in Round.__struct_fields__})


def _step(row: sqlite3.Row) -> Step:
    fields = {field: row[field] for field in Step.__struct_fields__ if field != "result"}
    return Step(**fields, result=json.loads(row["result"]))


def _release(row: sqlite3.Row) -> Release:
    fields = {field: row[field] for field in Release.__struct_fields__ if field != "lineage"}
    return Release(**fields, lineage=json.loads(row["lineage"]))
