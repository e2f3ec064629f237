"""Taking over a spool of schema 1, whose cases lay as rows inside the SQLite file. Once per device, then never again.

Every case keeps its sequence, and the spool its id, so that the region knows what it has. Rules, in order:
1. The cases are copied to segments and synced; only then, in one synced transaction, does the file become an index.
2. Killed before that transaction it is a spool of schema 1 as before, and the copies are thrown away at the next start.
3. A row that cannot be opened is evicted as damaged, as it would have been when read.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.link.record import NONCE_BYTES, Sealing
from shared.link.retention import Waiting
from shared.link.space import Place

ROWS_AT_A_TIME = 64
Store = Callable[[list[bytes]], "list[Place]"]
"""Appends records to the segments, durably; returns where each lies."""


def is_schema_1(about: dict[str, bytes]) -> bool:
    """Whether a spool's file says that its cases lie inside it."""
    return about.get("schema") == b"1"


def take_over(db: sqlite3.Connection, about: dict[str, bytes], *, key: bytes, store: Store) -> None:
    """Copy all cases of a schema-1 file to segments and make it an index.

    Args:
        db: the file, open, with the index's tables beside the old ones.
        about: what it says about itself.
        key: the local key.
        store: writes records.

    Raises:
        sqlite3.Error: the file is damaged, or the disk is full or fails: nothing has changed.
        OSError: the disk is full or fails: nothing has changed.
        InvalidTag: the key is not the file's.
    """
    spool_id, aead = about["spool_id"], AESGCM(key)
    aead.decrypt(about["check"][:NONCE_BYTES], about["check"][NONCE_BYTES:], spool_id)
    sealing, placed, damaged = Sealing(key, spool_id), [], []
    for rows in _batches(db):
        opened = [(item, _opened(aead, spool_id, item.sequence, body)) for item, body in rows]
        good = [(item, payload) for item, payload in opened if payload is not None]
        damaged += [item for item, payload in opened if payload is None]
        records = [sealing.record(item, payload, floor=0, nonce=os.urandom(NONCE_BYTES)) for item, payload in good]
        placed += list(zip((item for item, _ in good), store(records) if records else [], strict=True))
    _become_index(db, placed, damaged)


def _become_index(db: sqlite3.Connection, placed: list[tuple[Waiting, Place]], damaged: list[Waiting]) -> None:
    db.execute("pragma synchronous = full")
    db.execute("begin immediate")
    db.executemany(
        "insert into places values (?, ?, ?, ?, ?, ?)",
        [(item.sequence, item.is_audit, item.value, item.size, *place) for item, place in placed],
    )
    for item in damaged:
        name = f"evicted:damaged:{item.share.name.lower()}"
        db.execute("insert into counters values (?, 1) on conflict do update set n = n + 1", (name,))
    end = max((place for _, place in placed), default=Place(0, 0))
    db.executemany("insert or replace into counters values (?, ?)", [("tail_segment", end.segment), ("tail_offset", end.offset)])
    db.execute("drop table cases")
    db.execute("update about set value = '2' where name = 'schema'")
    db.execute("commit")
    with contextlib.suppress(sqlite3.OperationalError):  # a disk too full for it: the pages are used again
        db.execute("vacuum")
        db.execute("pragma wal_checkpoint(truncate)").fetchall()


def _batches(db: sqlite3.Connection) -> Iterator[list[tuple[Waiting, bytes]]]:
    last = -1
    while True:
        query = "select sequence, is_audit, value, size, body from cases where sequence > ? order by sequence limit ?"
        rows = db.execute(query, (last, ROWS_AT_A_TIME)).fetchall()
        if not rows:
            return
        last = rows[-1][0]
        yield [(Waiting(sequence=row[0], is_audit=bool(row[1]), value=row[2], size=row[3]), row[4]) for row in rows]


def _opened(aead: AESGCM, spool_id: bytes, sequence: int, body: bytes) -> bytes | None:
    try:
        return aead.decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], spool_id + sequence.to_bytes(8, "big"))
    except (InvalidTag, TypeError, ValueError):
        return None
