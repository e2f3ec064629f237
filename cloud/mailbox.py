"""The mailbox between the round worker and the regions: rows for tasks and replies, blobs beside them.

The worker posts tasks and reads replies; the API process hands tasks to regions and takes their replies. Both open the same
SQLite file, so nothing is lost when either is killed.

Rules, in order:
1. A task is posted once per (round, region, kind); posting it again changes nothing (a resumed round posts again).
2. A reply is taken only from the region the task was made for, as its certificate names it; no body is ever identity.
3. The first reply to a task counts; later ones are refused as duplicates, unless they are the same bytes (a retry).
4. An update counts once: a second region cannot name the same blob.
5. After the deadline, or once withdrawn, a task takes no reply.
6. Blobs of a round are deleted when it is over; the rows stay.
"""

from __future__ import annotations

from cloud.blobs import Blobs
from cloud.database import Database
from shared.errors import ProtocolError
from shared.wire.reports import AnyTask, EvaluationReply, TaskFailed, TrainReply, TrainTask, decode_report, decode_task, encode_report

SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
  task TEXT PRIMARY KEY, round INTEGER NOT NULL, region TEXT NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL,
  deadline REAL NOT NULL, state TEXT NOT NULL DEFAULT 'waiting', reply BLOB, answered_at REAL,
  UNIQUE (round, region, kind)
);
CREATE INDEX IF NOT EXISTS tasks_by_region ON tasks (region, state);
"""

Answer = TrainReply | EvaluationReply | TaskFailed
_ANSWERS = {"train": (TrainReply, TaskFailed), "evaluate": (EvaluationReply, TaskFailed)}


class Mailbox:
    """Tasks and replies.

    Args:
        database: the cloud's file; must have `SCHEMA`.
        blobs: where weights lie.
    """

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    @property
    def blobs(self) -> Blobs:
        """The blobs that tasks and replies name."""
        return self._blobs

    def post(self, region: str, task: AnyTask) -> bool:
        """Put a task into a region's inbox; say whether it is new there."""
        kind = "train" if isinstance(task, TrainTask) else "evaluate"
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "INSERT OR IGNORE INTO tasks (task, round, region, kind, body, deadline) VALUES (?, ?, ?, ?, ?, ?)",
                (task.task, task.round, region, kind, encode_report(task), task.deadline),
            )
            return cursor.rowcount == 1

    def waiting(self, region: str, *, now: float) -> tuple[AnyTask, ...]:
        """Return the tasks a region has not answered yet, oldest first."""
        rows = self._database.rows(
            "SELECT body FROM tasks WHERE region = ? AND state = 'waiting' AND deadline > ? ORDER BY round, kind DESC", (region, now)
        )
        return tuple(decode_task(row["body"]) for row in rows)

    def may_fetch(self, region: str, blob: str, *, now: float) -> bool:
        """Say whether a waiting task of this region names this blob."""
        return any(blob == name for task in self.waiting(region, now=now) for name, _ in task.blobs())

    def is_open(self, region: str, *, now: float) -> bool:
        """Say whether a region has any task to answer, and so a reason to upload."""
        return bool(self.waiting(region, now=now))

    def answer(self, region: str, reply: Answer, *, now: float) -> bool:
        """Take a region's reply to a task.

        Returns:
            True when it counts, False when it repeats what is already here.

        Raises:
            ProtocolError: not this region's task, the wrong kind, too late, a second and different reply, or its blob is missing.
        """
        body = encode_report(reply)
        with self._database.transaction() as connection:
            row = connection.execute("SELECT * FROM tasks WHERE task = ? AND region = ?", (reply.task, region)).fetchone()
            if row is None:
                raise ProtocolError(f"{region} has no task {reply.task}.")
            if row["state"] == "answered" and row["reply"] == body:
                return False
            self._check(row["state"], row["kind"], row["deadline"], reply, now)
            same = "SELECT region FROM tasks WHERE round = ? AND kind = ? AND instr(reply, ?) > 0"
            if isinstance(reply, TrainReply) and connection.execute(same, (row["round"], row["kind"], reply.blob.encode())).fetchone():
                raise ProtocolError(f"the update of {reply.task} is another region's.")
            connection.execute("UPDATE tasks SET state = 'answered', reply = ?, answered_at = ? WHERE task = ?", (body, now, reply.task))
        return True

    def _check(self, state: str, kind: str, deadline: float, reply: Answer, now: float) -> None:
        if state != "waiting":
            raise ProtocolError(f"the task {reply.task} is already {state}.")
        if now > deadline:
            raise ProtocolError(f"the deadline of {reply.task} has passed.")
        if not isinstance(reply, _ANSWERS[kind]):
            raise ProtocolError(f"the task {reply.task} asks for something else.")
        if isinstance(reply, TrainReply) and not (self._blobs.has(reply.blob) and self._blobs.size(reply.blob) == reply.size):
            raise ProtocolError(f"the update of {reply.task} has not been uploaded.")

    def replies(self, round_number: int, kind: str) -> dict[str, Answer | None]:
        """Return what each asked region replied, None where nothing came yet; in the order of region names."""
        rows = self._database.rows("SELECT region, reply FROM tasks WHERE round = ? AND kind = ? ORDER BY region", (round_number, kind))
        found: dict[str, Answer | None] = {}
        for row in rows:
            reply = decode_report(row["reply"]) if row["reply"] is not None else None
            found[row["region"]] = reply if isinstance(reply, TrainReply | EvaluationReply | TaskFailed) else None
        return found

    def withdraw(self, round_number: int, kind: str) -> int:
        """Close the tasks nobody answered; returns how many."""
        with self._database.transaction() as connection:
            return connection.execute(
                "UPDATE tasks SET state = 'withdrawn' WHERE round = ? AND kind = ? AND state = 'waiting'", (round_number, kind)
            ).rowcount

    def forget(self, round_number: int) -> None:
        """Close a round: withdraw what waits, delete every blob its tasks and replies name."""
        rows = self._database.rows("SELECT body, reply FROM tasks WHERE round = ?", (round_number,))
        with self._database.transaction() as connection:
            connection.execute("UPDATE tasks SET state = 'withdrawn' WHERE round = ? AND state = 'waiting'", (round_number,))
        for row in rows:
            for name, _ in decode_task(row["body"]).blobs():
                self._blobs.remove(name)
            reply = decode_report(row["reply"]) if row["reply"] is not None else None
            if isinstance(reply, TrainReply):
                self._blobs.remove(reply.blob)
