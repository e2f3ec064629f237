"""The tables of vault.db, and which part of the data a case belongs to. Pure.

`cases` has no unique key over (device, spool, sequence) on purpose: `dedupe` has it, and `terrace region vault` counts doubles in
`cases` as a check that can fail. Dedupe rows outlive their cases; floors outlive dedupe rows; `epochs` rows outlive their keys, so
that an old `open` sent again is known. `facts`, `labels` and `frozen` go with their case, whoever deletes it; `erased` rows stay.
"""

from __future__ import annotations

import hashlib

VERSION = 2
"""1: cases, keys, epochs. 2: facts, labels, frozen and erased cases."""

TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cases (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name BLOB NOT NULL, device TEXT NOT NULL, spool BLOB NOT NULL, sequence INTEGER NOT NULL,
    received_at REAL NOT NULL, is_audit INTEGER NOT NULL, part TEXT NOT NULL, size INTEGER NOT NULL,
    wrapped BLOB NOT NULL, sealed BLOB NOT NULL, answer BLOB, expert_release INTEGER, answered_at REAL, refused TEXT);
CREATE INDEX IF NOT EXISTS cases_open ON cases (id) WHERE answered_at IS NULL AND refused IS NULL;
CREATE INDEX IF NOT EXISTS cases_part ON cases (part, answered_at);
CREATE INDEX IF NOT EXISTS cases_age ON cases (received_at);
CREATE UNIQUE INDEX IF NOT EXISTS cases_name ON cases (name);
CREATE TABLE IF NOT EXISTS dedupe (
    device TEXT NOT NULL, spool BLOB NOT NULL, sequence INTEGER NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (device, spool, sequence)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS floors (device TEXT NOT NULL, spool BLOB NOT NULL, floor INTEGER NOT NULL,
    PRIMARY KEY (device, spool)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS aside (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name BLOB NOT NULL, device TEXT NOT NULL, spool BLOB NOT NULL, sequence INTEGER NOT NULL,
    received_at REAL NOT NULL, digest BLOB NOT NULL, wrapped BLOB NOT NULL, sealed BLOB NOT NULL,
    UNIQUE (device, spool, sequence, digest));
CREATE TABLE IF NOT EXISTS audits (
    device TEXT NOT NULL, release INTEGER NOT NULL, audited INTEGER NOT NULL, agreed INTEGER NOT NULL, kept INTEGER NOT NULL,
    kept_wrong INTEGER NOT NULL, PRIMARY KEY (device, release)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS omissions (
    device TEXT PRIMARY KEY, drawn INTEGER NOT NULL, missing INTEGER NOT NULL, expected REAL NOT NULL, unjudged INTEGER NOT NULL
    ) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS epochs (
    device TEXT NOT NULL, epoch BLOB NOT NULL, opened_at REAL NOT NULL, spool BLOB NOT NULL, suite INTEGER NOT NULL,
    digest BLOB NOT NULL, issuer TEXT NOT NULL, serial TEXT NOT NULL, secret BLOB, window BLOB, PRIMARY KEY (device, epoch)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, kem TEXT NOT NULL, public BLOB NOT NULL, secret BLOB NOT NULL,
    not_before INTEGER NOT NULL, not_after INTEGER NOT NULL, serial INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (
    id INTEGER PRIMARY KEY, stream TEXT NOT NULL, frame INTEGER NOT NULL, captured_at REAL NOT NULL, reason TEXT NOT NULL,
    score REAL, threshold REAL, release INTEGER NOT NULL, classes INTEGER NOT NULL, student INTEGER NOT NULL,
    expert INTEGER);
CREATE INDEX IF NOT EXISTS facts_frame ON facts (stream, frame);
CREATE TABLE IF NOT EXISTS labels (
    id INTEGER NOT NULL, person TEXT NOT NULL COLLATE NOCASE, label INTEGER NOT NULL, at REAL NOT NULL, source TEXT NOT NULL,
    PRIMARY KEY (id, person)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS frozen (
    id INTEGER PRIMARY KEY, label INTEGER NOT NULL, at REAL NOT NULL, source TEXT NOT NULL, held_out INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS erased (token TEXT PRIMARY KEY, at REAL NOT NULL, person TEXT NOT NULL) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS case_gone AFTER DELETE ON cases BEGIN
    DELETE FROM facts WHERE id = OLD.id; DELETE FROM labels WHERE id = OLD.id; DELETE FROM frozen WHERE id = OLD.id;
END;
"""

TRAIN, EVALUATION, UNUSED, ELSEWHERE = "train", "evaluation", "unused", "elsewhere"
"""`ELSEWHERE`: another region may have the case too; it is kept and answered here and used for nothing."""


def part_of(stream: str, unit: str, *, is_audit: bool) -> str:
    """Return what a case may be used for, so that no unit is ever both trained and evaluated on.

    Half of the units, by a hash of stream and unit, are for evaluation, and of those only audit samples: cases the policy picked
    are a biased sample. The other half is for training.
    """
    digest = hashlib.sha256(len(stream).to_bytes(4, "big") + stream.encode() + unit.encode()).digest()
    if digest[0] & 1:
        return TRAIN
    return EVALUATION if is_audit else UNUSED
