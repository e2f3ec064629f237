"""The vault: where a region keeps the cases of its devices, sealed, each exactly once.

Rules, in order:
1. A case, its dedupe row and the replay window of its epoch are committed in one transaction, several cases at a time; what
   `store` returned as NEW or DUPLICATE is on disk and may be receipted, nothing else may.
2. The same key (device, spool, sequence) with the same payload is a DUPLICATE and changes nothing; with another payload it is a
   CONFLICT: set aside, counted, never receipted. A sequence below the device's floor is OLD.
3. Counters live in the file beside what they count, so that a reader of the file alone can check the daemon's word.
4. vault_id names this vault; it changes when the file turns out to be older than its last start (a restored backup).

Not here: what to drop (retention), epochs and keys (epochs, keys: same file), recounting (recount).
"""

from __future__ import annotations

import functools
import hashlib
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from region import facts, schema
from region.cases import Incoming, Outcome, Stored, StoredCase
from region.database import Database, count
from region.retention import Held, to_drop
from region.sealing import Sealing
from region.vaultkey import load_vault_key
from shared import log
from shared.errors import StorageError
from shared.wire.messages import Case, Prediction, decode, encode

__all__ = ["Incoming", "Outcome", "Stored", "StoredCase", "Vault"]

ASIDE_PER_DEVICE = 64
RETENTION_PAGE = 20_000
CLONE_ALARM, VAULT_IS_OLDER, CASES_DROPPED = "clone_alarm", "vault_is_older_than_its_last_start", "cases_dropped"
_KEY_CHECK = b"terrace vault key"
Note = Callable[[sqlite3.Connection, Sequence[int]], None]
"""Told, inside the transaction, which cases have got their answer now."""


class Vault:
    """The vault file and its key.

    Args:
        path: the SQLite file.
        read_only: for readers beside the daemon (training, evaluation): nothing is made or changed.
        joins: for intake workers beside the daemon: they store cases, but a start of theirs is none of the vault's.
    """

    def __init__(self, path: Path, *, read_only: bool = False, joins: bool = False) -> None:
        self.database = Database(path, schema.TABLES, read_only=read_only, is_checked=joins)
        self.vault_id = ""
        self.held_bytes = 0
        self._path = path
        self._is_guest = read_only or joins
        self._sealing: Sealing | None = None
        self._logger = log.get("vault")

    @property
    def key_path(self) -> Path:
        """The vault key's file, beside the vault."""
        return self._path.with_suffix(".key")

    @property
    def serial_path(self) -> Path:
        """Where the highest serial of a region key is kept, beside a vault that may be put back from a backup."""
        return self._path.with_suffix(".serial")

    @property
    def sealing(self) -> Sealing:
        """The vault key at work; other tables of this file wrap their secrets with it."""
        if self._sealing is None:
            raise StorageError(f"{self._path} is closed.")
        return self._sealing

    def start(self) -> None:
        """Open the vault; make it and its key when there is none.

        Raises:
            StorageError: damaged, of a later version, or the key does not belong to it.
        """
        self.database.start()
        meta: dict[str, bytes] = dict(self.database.rows("SELECT name, value FROM meta"))
        if int(meta.get("version", b"1")) > schema.VERSION:
            raise StorageError(f"{self._path} was made by a later version of terrace.", "Update terrace.")
        self._sealing = Sealing(load_vault_key(self.key_path, may_create="key_check" not in meta), secrets.token_bytes)
        if "key_check" in meta:
            self._sealing.unwrap(meta["key_check"], _KEY_CHECK)
        if self._is_guest:
            self.vault_id = meta.get("vault_id", b"").decode()
            return
        self._complete_facts()
        self._sign_in(meta)
        self.held_bytes = self.database.rows("SELECT coalesce(sum(size), 0) FROM cases")[0][0]

    def stop(self) -> None:
        """Close the vault."""
        self.database.stop()

    def store(
        self,
        items: Sequence[Incoming],
        windows: Mapping[tuple[str, bytes], bytes] | None = None,
        floors: Mapping[tuple[str, bytes], int] | None = None,
    ) -> list[Stored]:
        """Commit cases, their dedupe rows, the replay windows of their epochs and raised floors, all or nothing.

        Args:
            items: what arrived; the same case may be in it twice.
            windows: replay window by (device, epoch id).
            floors: by (device, spool), the lowest sequence its spool still holds: dedupe rows below are pruned, cases below refused
                from the next batch on. A floor never falls.

        Returns:
            What became of each item, in order.

        Raises:
            StorageError: nothing was stored, no receipt may be sent.
        """
        with self.database.transaction() as connection:
            outcomes = [self._store(connection, item) for item in items]
            connection.executemany(
                "UPDATE epochs SET window = ? WHERE device = ? AND epoch = ?",
                [(window, device, epoch) for (device, epoch), window in (windows or {}).items()],
            )
            for (device, spool), floor in (floors or {}).items():
                _raise_floor(connection, device, spool, floor)
            for outcome in Outcome:
                count(connection, outcome.value, sum(stored.outcome is outcome for stored in outcomes))
        self.held_bytes += sum(len(item.payload) for item, stored in zip(items, outcomes, strict=True) if stored.outcome is Outcome.NEW)
        for item, stored in zip(items, outcomes, strict=True):
            if stored.outcome is Outcome.CONFLICT:
                self._logger.error(CLONE_ALARM, device=item.device, spool=item.spool.hex(), sequence=item.sequence)
        return outcomes

    def store_answers(self, answers: Sequence[tuple[int, Prediction]], *, release: int, now: float, note: Note | None = None) -> None:
        """Keep the expert's answers to cases, by id; a case answered before keeps its first answer.

        Args:
            answers: id and answer.
            release: the expert's.
            now: Unix seconds.
            note: called inside the transaction with the ids that had no answer before, for what is counted once per case; without those
                that another region may have counted.

        Raises:
            StorageError: not stored; the cases count as unanswered and are answered again.
        """
        statement = "UPDATE cases SET answer = ?, expert_release = ?, answered_at = ? WHERE id = ? AND answered_at IS NULL"
        with self.database.transaction() as connection:
            rows = ((encode(answer), release, now, case) for case, answer in answers)
            fresh = [row[-1] for row in rows if connection.execute(statement, row).rowcount]
            facts.note_answers(connection, answers)
            count(connection, "answered", len(fresh))
            if note is not None:
                apart = "SELECT id FROM cases WHERE id = ? AND part = ?"
                note(connection, [case for case in fresh if not connection.execute(apart, (case, schema.ELSEWHERE)).fetchone()])

    def refuse(self, case: int, reason: str) -> None:
        """Note that a case cannot be answered (its picture cannot be read), so that it is not tried again."""
        with self.database.transaction() as connection:
            connection.execute("UPDATE cases SET refused = ? WHERE id = ?", (reason, case))

    def unanswered(self, *, received_before: float = float("inf"), limit: int = 64) -> list[StoredCase]:
        """Return cases without an answer that arrived before a time (Unix seconds), oldest first."""
        rows = self.database.rows(
            f"{_SELECT} WHERE answered_at IS NULL AND refused IS NULL AND received_at < ? ORDER BY id LIMIT ?", (received_before, limit)
        )
        return [self._opened(row) for row in rows]

    def cases(
        self, *, split: Literal["train", "evaluation", "unused"], answered: bool = True, limit: int | None = None
    ) -> Iterator[StoredCase]:
        """Yield the cases of one part, oldest first; with a limit, the newest that many.

        Args:
            split: `train`, `evaluation` (audit samples of units never trained on), or `unused` (the other cases of those units).
            answered: only cases that have an answer.
            limit: at most so many.
        """
        ids = self.database.rows(
            "SELECT id FROM cases WHERE part = ? AND refused IS NULL AND (answered_at IS NOT NULL OR NOT ?) ORDER BY id DESC LIMIT ?",
            (split, answered, -1 if limit is None else limit),
        )
        for (case,) in reversed(ids):
            for row in self.database.rows(f"{_SELECT} WHERE id = ?", (case,)):  # retention may have dropped it meanwhile
                yield self._opened(row)

    def human_cases(self, *, limit: int) -> Iterator[tuple[StoredCase, int, str]]:
        """Yield the newest `limit` frozen cases of units never trained on, oldest first: case, label and its source."""
        rows = self.database.rows("SELECT id, label, source FROM frozen WHERE held_out ORDER BY id DESC LIMIT ?", (limit,))
        for case, label, source in reversed(rows):
            for row in self.database.rows(f"{_SELECT} WHERE id = ?", (case,)):
                yield self._opened(row), label, source

    def named(self, name: bytes) -> StoredCase | None:
        """Return the case of a random name, or None when it is not here (any more)."""
        rows = self.database.rows(f"{_SELECT} WHERE name = ?", (name,))
        return self._opened(rows[0]) if rows else None

    def retain(self, *, capacity_bytes: int, max_age_s: float, now: float, human_max_age_s: float = float("inf")) -> int:
        """Drop what retention says and return how many cases that were.

        Raises:
            StorageError: nothing was dropped.
        """
        if self.held_bytes <= capacity_bytes and not self._any_over_age(now - max_age_s, now - human_max_age_s):
            return 0
        self.held_bytes = self.database.rows("SELECT coalesce(sum(size), 0) FROM cases")[0][0]  # another process may have erased some
        rows = self.database.rows(
            "SELECT id, size, received_at, answered_at IS NOT NULL, is_audit, refused IS NOT NULL, id IN (SELECT id FROM frozen)"
            " FROM cases ORDER BY received_at LIMIT ?",
            (RETENTION_PAGE,),
        )
        held = [
            Held(id=row[0], size=row[1], received_at=row[2], answered=bool(row[3] or row[5]), is_audit=bool(row[4]), frozen=bool(row[6]))
            for row in rows
        ]
        unanswered = {row[0] for row in rows if not row[3]}
        within = functools.partial(to_drop, capacity_bytes=capacity_bytes, max_age_s=max_age_s, human_max_age_s=human_max_age_s)
        gone = set(within(held, held_bytes=self.held_bytes, now=now))
        dropped = [case for case in held if case.id in gone]
        with self.database.transaction() as connection:
            connection.executemany("DELETE FROM cases WHERE id = ?", [(case.id,) for case in dropped])
            count(connection, "dropped", len(dropped))
            count(connection, "dropped_unanswered", len(unanswered & gone))
        self.held_bytes -= sum(case.size for case in dropped)
        self._logger.info(CASES_DROPPED, cases=len(dropped), held_bytes=self.held_bytes)
        return len(dropped)

    def counters(self) -> dict[str, int]:
        """Return the durable counters: new, duplicate, conflict, old, answered, dropped, dropped_unanswered."""
        return dict(self.database.rows("SELECT name, value FROM counters"))

    def parts(self) -> dict[str, int]:
        """Return how many answered cases are held for each use: train, evaluation, unused."""
        return dict(self.database.rows("SELECT part, count(answered_at) FROM cases GROUP BY part"))

    def _any_over_age(self, before: float, human_before: float) -> bool:
        """Whether a case arrived before its limit, Unix seconds; frozen cases have their own."""
        statement = (
            "SELECT EXISTS (SELECT 1 FROM cases WHERE received_at < ? AND id NOT IN (SELECT id FROM frozen)) OR"
            " EXISTS (SELECT 1 FROM frozen JOIN cases USING (id) WHERE received_at < ?)"
        )
        return bool(self.database.rows(statement, (before, human_before))[0][0])

    def _complete_facts(self) -> None:
        """Write the facts of cases stored before there were facts."""
        while rows := self.database.rows(facts.MISSING):
            opened = [self._opened(row) for (case,) in rows for row in self.database.rows(f"{_SELECT} WHERE id = ?", (case,))]
            with self.database.transaction() as connection:
                for one in opened:
                    facts.note(connection, one.id, one.case, one.answer)

    def _sign_in(self, meta: Mapping[str, bytes]) -> None:
        """Count this start in the file and beside it; a file that has seen fewer starts than its neighbour is an old copy."""
        beside = self._path.with_suffix(".starts")
        seen = int(beside.read_text()) if beside.exists() else 0
        starts = int(meta.get("starts", b"0"))
        is_old = 0 < starts < seen
        fresh_id = "vault_id" not in meta or is_old
        self.vault_id = secrets.token_hex(16) if fresh_id else meta["vault_id"].decode()
        values = {"version": str(schema.VERSION), "starts": str(max(starts, seen) + 1), "vault_id": self.vault_id}
        with self.database.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", [(name, value.encode()) for name, value in values.items()])
            if "key_check" not in meta:
                connection.execute("INSERT INTO meta VALUES ('key_check', ?)", (self.sealing.wrap(b"", _KEY_CHECK),))
            if is_old:
                self._logger.error(VAULT_IS_OLDER, starts=starts, expected=seen)
                connection.execute("DELETE FROM epochs")
                connection.execute("DELETE FROM keys")
        beside.write_text(values["starts"])

    def _store(self, connection: sqlite3.Connection, item: Incoming) -> Stored:
        key = (item.device, item.spool, item.sequence)
        floor = connection.execute("SELECT floor FROM floors WHERE device = ? AND spool = ?", key[:2]).fetchone()
        if floor is not None and item.sequence < floor[0]:
            return Stored(outcome=Outcome.OLD)
        digest = hashlib.sha256(item.payload).digest()
        known = connection.execute("SELECT digest FROM dedupe WHERE device = ? AND spool = ? AND sequence = ?", key).fetchone()
        if known is not None:
            if known[0] == digest:
                return Stored(outcome=Outcome.DUPLICATE)
            self._set_aside(connection, item, digest)
            return Stored(outcome=Outcome.CONFLICT)
        connection.execute("INSERT INTO dedupe VALUES (?, ?, ?, ?)", (*key, digest))
        name = secrets.token_bytes(16)
        use = schema.part_of(item.case.stream, item.case.unit, is_audit=item.case.is_audit)
        part = schema.ELSEWHERE if item.is_held else use
        row = connection.execute(
            "INSERT INTO cases (name, device, spool, sequence, received_at, is_audit, part, size, wrapped, sealed)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (name, *key, item.received_at, item.case.is_audit, part, len(item.payload), *self.sealing.seal(item.payload, name)),
        ).lastrowid
        facts.note(connection, row or 0, item.case)
        return Stored(outcome=Outcome.NEW, id=row or 0)

    def _set_aside(self, connection: sqlite3.Connection, item: Incoming, digest: bytes) -> None:
        held = connection.execute("SELECT count(*) FROM aside WHERE device = ?", (item.device,)).fetchone()[0]
        if held >= ASIDE_PER_DEVICE:
            return  # counted and alarmed all the same; a cloned card must not fill the disk
        name = secrets.token_bytes(16)
        connection.execute(
            "INSERT OR IGNORE INTO aside (name, device, spool, sequence, received_at, digest, wrapped, sealed)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (name, item.device, item.spool, item.sequence, item.received_at, digest, *self.sealing.seal(item.payload, name)),
        )

    def _opened(self, row: tuple[int, bytes, str, bytes, int, float, bytes, bytes, bytes | None]) -> StoredCase:
        case, name, device, spool, sequence, received_at, wrapped, sealed, answer = row
        return StoredCase(
            id=case,
            device=device,
            spool=spool,
            sequence=sequence,
            received_at=received_at,
            case=decode(Case, self.sealing.open(wrapped, sealed, name)),
            answer=None if answer is None else decode(Prediction, answer),
        )


_SELECT = "SELECT id, name, device, spool, sequence, received_at, wrapped, sealed, answer FROM cases"


def _raise_floor(connection: sqlite3.Connection, device: str, spool: bytes, floor: int) -> None:
    connection.execute(
        "INSERT INTO floors (device, spool, floor) VALUES (?, ?, ?) ON CONFLICT (device, spool) DO UPDATE SET floor = excluded.floor"
        " WHERE excluded.floor > floor",
        (device, spool, floor),
    )
    connection.execute("DELETE FROM dedupe WHERE device = ? AND spool = ? AND sequence < ?", (device, spool, floor))
