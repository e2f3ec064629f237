"""Labels in the vault's file: keep what people say, freeze what they agree on. No key is needed, no picture is opened.

Rules, in order:
1. Word and verdict are committed together; the rules themselves stand in labels.
2. A frozen case leaves the training half for good. It counts at the gate when its unit is held out from training; a case of a unit
   trained on only leaves (the student may have seen its neighbours).
3. Erasing a case takes its data key, its words and its facts; a row with its token stays, and so does its dedupe row: sent again, it
   is known and not kept.

The token stands for a case in audit entries: an HMAC under its wrapped data key, so that it says nothing once the case is erased.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from region import labels, schema
from region.database import Database, count
from region.labels import Opinion, State, Verdict
from shared.errors import InputError

Note = Callable[[str, Verdict], None]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A label for a case named from outside: by device, stream and frame."""

    device: str
    stream: str
    frame: int
    label: int | str
    person: str


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a list of labels: cases by outcome; `cases_human` is how many frozen cases the vault holds now.

    `training` were left alone because their unit is trained on, `unknown` are not in the vault, `refused` were frozen before or
    belong to a person; `frozen` and `disputed` are among `labelled`, a case counted as it stands in the end.
    """

    labelled: int
    frozen: int
    disputed: int
    training: int
    unknown: int
    refused: int
    cases_human: int
    source: str


class Labels:
    """The words on the cases of a vault.

    Args:
        database: the vault's file, open; another process may have it open too.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def say(self, case: int, opinion: Opinion, note: Note | None = None) -> Verdict:
        """Keep one word on a case and return what the words on it come to.

        Args:
            case: its row.
            opinion: the word.
            note: called with the case's token and the verdict before anything is committed; what it raises undoes the word.

        Raises:
            InputError: there is no such case or class.
            AccessError: the case is frozen, or the word may not replace an earlier one.
            StorageError: nothing was kept.
        """
        with self._database.transaction() as connection:
            verdict = _say(connection, case, opinion)
            if note is not None:
                note(token_of(connection, case), verdict)
        return verdict

    def take(self, wanted: Sequence[Wanted], classes: Sequence[str], *, now: float, training_too: bool = False) -> Imported:
        """Keep a list of generated labels, all in one transaction.

        Args:
            wanted: the labels, by device, stream and frame.
            classes: what the classes are called, for labels given by name.
            now: Unix seconds.
            training_too: label cases of units trained on as well; they leave the training half and do not count at the gate.

        Raises:
            InputError: a label names no class.
            StorageError: nothing was kept.
        """
        numbers = [label_of(one.label, classes) for one in wanted]
        found: dict[str, list[int]] = {"labelled": [], "training": [], "unknown": [], "refused": []}
        verdicts: dict[int, Verdict] = {}
        with self._database.transaction() as connection:
            for one, label in zip(wanted, numbers, strict=True):
                opinion = Opinion(person=one.person, label=label, at=now, source=labels.GENERATOR)
                case, outcome, verdict = _take(connection, one, opinion, training_too=training_too)
                found[outcome].append(case)
                verdicts.update({case: verdict} if verdict is not None else {})
            human = connection.execute("SELECT count(*) FROM frozen").fetchone()[0]
        states = [verdict.state for verdict in verdicts.values()]
        return Imported(
            labelled=len(set(found["labelled"])),
            frozen=states.count(State.FROZEN),
            disputed=states.count(State.DISPUTED),
            training=len(set(found["training"])),
            unknown=len(found["unknown"]),
            refused=len(set(found["refused"])),
            cases_human=human,
            source=labels.GENERATOR,
        )

    def of(self, cases: Iterable[int]) -> dict[int, list[Opinion]]:
        """Return the words on these cases, oldest first."""
        found: dict[int, list[Opinion]] = {case: [] for case in cases}
        statement = "SELECT id, person, label, at, source FROM labels WHERE id IN (SELECT value FROM json_each(?)) ORDER BY at"
        for case, *values in self._database.rows(statement, (json.dumps(list(found)),)):
            found[case].append(_opinion(values))
        return found

    def counts(self) -> Mapping[str, int]:
        """Return how many cases there are of each kind.

        `human`: frozen; of those `gate` count at the gate and `generated` were not agreed on by people alone; `open` wait for another
        person after one word, `disputed` after two that differ.
        """
        frozen = self._database.rows("SELECT count(*), coalesce(sum(held_out), 0), coalesce(sum(source != 'person'), 0) FROM frozen")[0]
        waiting = self._database.rows(
            "SELECT coalesce(sum(voices = 1), 0), coalesce(sum(voices > 1), 0) FROM"
            " (SELECT count(DISTINCT label) AS voices FROM labels WHERE id NOT IN (SELECT id FROM frozen) GROUP BY id)"
        )[0]
        return {"human": frozen[0], "gate": frozen[1], "generated": frozen[2], "open": waiting[0], "disputed": waiting[1]}

    def erase(self, case: int, person: str, *, now: float) -> str:
        """Forget a case, its picture, its words and its facts; returns the token that stays.

        Raises:
            InputError: there is no such case.
        """
        with self._database.transaction() as connection:
            token = token_of(connection, case)
            unanswered = connection.execute("SELECT answered_at IS NULL FROM cases WHERE id = ?", (case,)).fetchone()[0]
            connection.execute("DELETE FROM cases WHERE id = ?", (case,))
            connection.execute("INSERT OR IGNORE INTO erased VALUES (?, ?, ?)", (token, now, person))
            for name, amount in (("dropped", 1), ("dropped_unanswered", unanswered), ("erased", 1)):
                count(connection, name, amount)
        return token

    def token(self, case: int) -> str:
        """Return what stands for a case in audit entries.

        Raises:
            InputError: there is no such case.
        """
        with self._database.transaction() as connection:
            return token_of(connection, case)


def token_of(connection: sqlite3.Connection, case: int) -> str:
    """Return a case's token; raises InputError when there is no such case."""
    row = connection.execute("SELECT wrapped, name FROM cases WHERE id = ?", (case,)).fetchone()
    if row is None:
        raise InputError("there is no such case in the vault.", "It may have been dropped or erased.")
    return hmac.new(row[0], b"terrace/1/audit\x00" + row[1], hashlib.sha256).hexdigest()[:32]


def _say(connection: sqlite3.Connection, case: int, opinion: Opinion) -> Verdict:
    facts = connection.execute("SELECT classes, part FROM facts JOIN cases USING (id) WHERE id = ?", (case,)).fetchone()
    if facts is None:
        raise InputError("there is no such case in the vault.", "It may have been dropped or erased.")
    rows = connection.execute("SELECT person, label, at, source FROM labels WHERE id = ? ORDER BY at", (case,)).fetchall()
    words = labels.said([_opinion(row) for row in rows], opinion, classes=facts[0])
    connection.execute(
        "INSERT OR REPLACE INTO labels VALUES (?, ?, ?, ?, ?)", (case, opinion.person, opinion.label, opinion.at, opinion.source)
    )
    verdict = labels.verdict(words)
    if verdict.state is State.FROZEN:
        is_held_out = facts[1] not in {schema.TRAIN, schema.ELSEWHERE}
        connection.execute("INSERT INTO frozen VALUES (?, ?, ?, ?, ?)", (case, verdict.label, opinion.at, verdict.source, is_held_out))
        connection.execute("UPDATE cases SET part = ? WHERE id = ? AND part = ?", (schema.UNUSED, case, schema.TRAIN))
    return verdict


def _take(connection: sqlite3.Connection, one: Wanted, opinion: Opinion, *, training_too: bool) -> tuple[int, str, Verdict | None]:
    row = connection.execute(
        "SELECT id, part, id IN (SELECT id FROM frozen) FROM facts JOIN cases USING (id)"
        " WHERE stream = ? AND frame = ? AND device = ? ORDER BY id DESC LIMIT 1",
        (one.stream, one.frame, one.device),
    ).fetchone()
    if row is None:
        return 0, "unknown", None
    case, part, is_frozen = row
    if is_frozen or _has_spoken_in_person(connection, case, one.person):
        return case, "refused", None
    if part == schema.TRAIN and not training_too:
        return case, "training", None
    return case, "labelled", _say(connection, case, opinion)


def _has_spoken_in_person(connection: sqlite3.Connection, case: int, person: str) -> bool:
    statement = "SELECT 1 FROM labels WHERE id = ? AND person = ? AND source = ?"
    return connection.execute(statement, (case, person, labels.PERSON)).fetchone() is not None


def label_of(label: int | str, classes: Sequence[str]) -> int:
    """Return a label as a class number.

    Raises:
        InputError: no class is called so.
    """
    if isinstance(label, int):
        return label
    if label in classes:
        return list(classes).index(label)
    raise InputError(f"there is no class {label!r}.", f"Classes are: {', '.join(classes) or 'numbers (no card is here that names them)'}.")


def _opinion(row: Sequence[object]) -> Opinion:
    return msgspec.convert(dict(zip(("person", "label", "at", "source"), row, strict=True)), Opinion)
