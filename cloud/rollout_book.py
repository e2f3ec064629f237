"""Rollouts as rows of the registry: where each stands, why, and every change with who made it.

Rules, in order:
1. A family has at most one open rollout; starting another ends it as aborted, in the same transaction.
2. A change of state goes through the table (rollout_states) in one transaction with its line of history and a new `revision`.
3. A change that devices must hear of is pending until its revision is marked as published; so a daemon killed in between publishes
   it after its next start.
4. What devices and audit samples say is noted beside it without a revision: it is derived and may be derived again.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import msgspec

from cloud.agreement import Evidence
from cloud.database import Database
from cloud.rollout_record import Change, Plan, Rollout
from cloud.rollout_states import Event, State, after
from shared.errors import FederationError

SCHEMA = """
CREATE TABLE IF NOT EXISTS rollouts (
  id INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, release INTEGER NOT NULL, role TEXT NOT NULL, previous INTEGER NOT NULL,
  previous_role TEXT NOT NULL, salt TEXT NOT NULL, share REAL NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, origin TEXT NOT NULL,
  started_at REAL NOT NULL, stage_at REAL NOT NULL, changed_at REAL NOT NULL, revision INTEGER NOT NULL DEFAULT 1,
  published INTEGER NOT NULL DEFAULT 0, evidence TEXT NOT NULL DEFAULT '{}', votes TEXT NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX IF NOT EXISTS one_open_rollout ON rollouts (model) WHERE state IN ('canary', 'widening', 'asking', 'paused');
CREATE TABLE IF NOT EXISTS rollout_history (
  rollout INTEGER NOT NULL REFERENCES rollouts, at REAL NOT NULL, state TEXT NOT NULL, share REAL NOT NULL, reason TEXT NOT NULL,
  who TEXT NOT NULL
);
"""
_OPEN = "SELECT * FROM rollouts WHERE state IN ('canary', 'widening', 'asking', 'paused') ORDER BY id"


class RolloutBook:
    """The rollouts in the cloud's file.

    Args:
        database: the file; must have `SCHEMA`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def database(self) -> Database:
        """The file."""
        return self._database

    def begin(self, plan: Plan, *, who: str, now: float) -> Rollout:
        """Open a rollout; one of the same model that is still open ends as aborted."""
        with self._database.transaction() as connection:
            for open_row in [row for row in connection.execute(_OPEN).fetchall() if row["model"] == plan.model]:
                word = f"{plan.model} {plan.release} is rolled out in its place"
                _change(connection, _rollout(open_row), Event.ABORT, open_row["share"], word, who=who, now=now)
                connection.execute(
                    "UPDATE rollouts SET published = revision WHERE id = ?", (open_row["id"],)
                )  # the new one's document covers it
            values = {**msgspec.to_builtins(plan), "state": State.CANARY.value, "now": now}
            cursor = connection.execute(
                """INSERT INTO rollouts (model, release, role, previous, previous_role, salt, share, state, reason, origin,
                     started_at, stage_at, changed_at)
                   VALUES (:model, :release, :role, :previous, :previous_role, :salt, :share, :state, :reason, :origin,
                     :now, :now, :now)""",
                values,
            )
            number = int(cursor.lastrowid or 0)
            _note(connection, number, State.CANARY, plan.share, plan.reason, who=who, now=now)
        return self.rollout(number)

    def change(
        self, number: int, event: Event, *, reason: str, who: str, now: float, share: float | None = None, revision: int | None = None
    ) -> Rollout:
        """Let an event happen to a rollout and return it as it is then.

        Args:
            number: the rollout's.
            event: what happens.
            reason: why, for people.
            who: who did it.
            now: Unix seconds.
            share: the new stage's share, where a stage begins.
            revision: what it was decided on; when the rollout has changed since, nothing happens.

        Raises:
            FederationError: there is no such rollout, or the event cannot happen to it now.
        """
        with self._database.transaction() as connection:
            row = connection.execute("SELECT * FROM rollouts WHERE id = ?", (number,)).fetchone()
            if row is not None and (revision is None or row["revision"] == revision):
                current = _rollout(row)
                _change(connection, current, event, current.share if share is None else share, reason, who=who, now=now)
        return self.rollout(number)

    def note(self, number: int, evidence: Evidence, votes: dict[str, str]) -> None:
        """Keep what was last seen of votes and audit samples."""
        words = (json.dumps(msgspec.to_builtins(evidence)), json.dumps(votes), number)
        with self._database.transaction() as connection:
            connection.execute("UPDATE rollouts SET evidence = ?, votes = ? WHERE id = ?", words)

    def mark_published(self, rollout: Rollout) -> None:
        """Note that the desired state says what this revision asks for."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE rollouts SET published = ? WHERE id = ?", (rollout.revision, rollout.id))

    def rollout(self, number: int) -> Rollout:
        """Return a rollout.

        Raises:
            FederationError: there is none of that number.
        """
        row = self._database.row("SELECT * FROM rollouts WHERE id = ?", (number,))
        if row is None:
            raise FederationError(f"there is no rollout {number}.", "List them with: terrace cloud rollout list.")
        return _rollout(row)

    def rollouts(self, limit: int = 100) -> list[Rollout]:
        """Return the rollouts, newest first."""
        return [_rollout(row) for row in self._database.rows("SELECT * FROM rollouts ORDER BY id DESC LIMIT ?", (limit,))]

    def open(self, model: str | None = None) -> list[Rollout]:
        """Return the open rollouts, of one family or of all."""
        found = [_rollout(row) for row in self._database.rows(_OPEN)]
        return [item for item in found if model in (None, item.model)]

    def of(self, model: str, release: int, origin: str) -> Rollout | None:
        """Return the rollout that this origin has asked for before, if any."""
        row = self._database.row(
            "SELECT * FROM rollouts WHERE model = ? AND release = ? AND origin = ? ORDER BY id DESC", (model, release, origin)
        )
        return _rollout(row) if row is not None else None

    def pending(self) -> list[Rollout]:
        """Return the rollouts whose last change devices have not been told yet, oldest first."""
        return [_rollout(row) for row in self._database.rows("SELECT * FROM rollouts WHERE published < revision ORDER BY id")]

    def history(self, number: int) -> list[Change]:
        """Return what happened to a rollout, oldest first."""
        rows = self._database.rows("SELECT at, state, share, reason, who FROM rollout_history WHERE rollout = ? ORDER BY rowid", (number,))
        return [Change(**dict(row)) for row in rows]


def _change(connection: sqlite3.Connection, current: Rollout, event: Event, share: float, reason: str, *, who: str, now: float) -> None:
    state = after(current.state, event)
    is_new_stage = event in (Event.WIDEN, Event.PROMOTE, Event.RESUME)
    connection.execute(
        "UPDATE rollouts SET state = ?, reason = ?, share = ?, stage_at = ?, changed_at = ?, revision = revision + 1 WHERE id = ?",
        (state.value, reason, share, now if is_new_stage else current.stage_at, now, current.id),
    )
    _note(connection, current.id, state, share, reason, who=who, now=now)


def _note(connection: sqlite3.Connection, number: int, state: State, share: float, reason: str, *, who: str, now: float) -> None:
    connection.execute("INSERT INTO rollout_history VALUES (?, ?, ?, ?, ?, ?)", (number, now, state.value, share, reason, who))


def _rollout(row: sqlite3.Row) -> Rollout:
    fields: dict[str, Any] = dict(row)
    read = {
        "state": State(fields["state"]),
        "evidence": msgspec.json.decode(fields["evidence"], type=Evidence),
        "votes": json.loads(fields["votes"]),
    }
    return Rollout(**{**fields, **read})
