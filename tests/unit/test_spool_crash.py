"""The spool after a crash: torn segments, damaged indexes, killed writers, and a spool of the former schema."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.link.record import OVERHEAD_BYTES
from shared.link.recount import recount
from shared.link.spool import NewCase, Spool
from tests.examples import examples


def make(folder: Path, capacity: int = 1 << 22) -> Spool:
    spool = Spool(folder / "spool.db", folder / "spool.key", capacity)
    spool.start()
    return spool


def write(spool: Spool, count: int, size: int = 3000) -> dict[int, bytes]:
    cases = [NewCase(payload=os.urandom(size), is_audit=number % 4 == 0, value=number / 10) for number in range(count)]
    sequences = spool.append_many(cases).sequences
    return {sequence: case.payload for sequence, case in zip(sequences, cases, strict=True) if sequence is not None}


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "spool.db-segments").iterdir())


def crash(folder: Path, to: Path) -> Path:
    """Copy the files as they lie while the spool is open: what a kill -9 would leave."""
    shutil.copytree(folder, to)
    return to


def check(spool: Spool, held: dict[int, bytes]) -> set[int]:
    """Read all that waits; returns it. Whatever waits is what was written, and the counts add up."""
    found = set()
    for item in spool.waiting():
        payload = spool.read(item.sequence)
        if payload is not None:
            assert payload == held[item.sequence]
            found.add(item.sequence)
    counts = spool.counts()
    assert counts.spooled == counts.received + counts.evicted + counts.waiting_count
    return found


@settings(max_examples=examples(30), deadline=None)
@given(
    groups=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    removed=st.floats(0, 1),
    cut=st.integers(1, 9000),
    noise=st.binary(max_size=40),
)
def test_a_torn_tail_costs_only_what_was_torn(
    tmp_path_factory: pytest.TempPathFactory, groups: list[int], removed: float, cut: int, noise: bytes
) -> None:
    """The segment's end is cut off anywhere and followed by noise, and the index has not heard of what was written last."""
    folder = tmp_path_factory.mktemp("torn")
    spool = make(folder)
    held = write(spool, 6)
    gone = sorted(held)[: int(removed * len(held))]
    spool.remove(gone)
    before = crash(folder, tmp_path_factory.mktemp("state") / "before")  # the index as it is now ...
    for count in groups:
        held |= write(spool, count)
    spool.stop()
    tail = segments(folder)[-1]
    content = tail.read_bytes()
    shutil.copy(tail, segments(before)[-1])  # ... with the segment as it is later
    segments(before)[-1].write_bytes(content[: max(80, len(content) - cut)] + noise)
    intact = sorted(held)[: len(held) - torn(content, cut, len(held))]
    indexed = sorted(held)[:6]  # what lies there is believed until it is read
    assert recount(before / "spool.db").waiting_count == len({*indexed, *intact} - set(gone))
    again = make(before)
    found = check(again, held)
    assert found == set(intact) - set(gone)
    assert min(write(again, 1)) > max(held), "no sequence is used twice"
    again.stop()


def torn(content: bytes, cut: int, cases: int) -> int:
    """How many records of 3,000 bytes a cut reaches."""
    return min(cases, -(-min(cut, len(content) - 80) // (3000 + OVERHEAD_BYTES)))


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=40), st.floats(0, 1), st.booleans())
def test_no_damage_to_the_index_loses_a_case(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[float, int]], kept: float, has_log: bool
) -> None:
    folder = tmp_path_factory.mktemp("index")
    spool = make(folder)
    held = write(spool, 8)
    spool.remove([min(held)])
    crashed = crash(folder, tmp_path_factory.mktemp("crashed") / "now") if has_log else folder
    spool.stop()
    file = crashed / ("spool.db-wal" if has_log else "spool.db")
    content = bytearray(file.read_bytes())
    for position, value in damage:
        content[int(position * (len(content) - 1))] = value
    file.write_bytes(bytes(content[: int(kept * len(content))]))
    again = make(crashed)
    waiting = {item.sequence for item in again.waiting()}
    assert set(held) - {min(held)} <= waiting | ({item for item in held if again.evicted()})
    found = check(again, held)
    if again.set_aside is not None or not again.evicted():
        assert set(held) - {min(held)} <= found
    assert again.spool_id == spool.spool_id
    new = write(again, 1)
    assert min(new) > max(held)
    again.stop()


@settings(max_examples=examples(25), deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=40), st.floats(0.02, 1))
def test_whatever_the_disk_did_to_the_segments_the_spool_starts_and_takes_new_cases(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[float, int]], kept: float
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    spool = make(folder)
    held = write(spool, 8)
    spool.stop()
    file = segments(folder)[-1]
    content = bytearray(file.read_bytes())
    for position, value in damage:
        content[int(position * (len(content) - 1))] = value
    file.write_bytes(bytes(content[: max(1, int(kept * len(content)))]))
    again = make(folder)
    check(again, held)
    new = write(again, 1)
    assert {sequence: again.read(sequence) for sequence in new} == new
    again.stop()


def test_without_its_index_the_spool_is_made_anew_from_its_segments(tmp_path: Path) -> None:
    spool = make(tmp_path)
    held = write(spool, 10)
    gone = sorted(held)[:4]
    spool.remove(gone)
    assert spool.floor() == sorted(held)[4]
    spool.stop()
    (tmp_path / "spool.db").unlink()
    again = make(tmp_path)
    assert again.spool_id == spool.spool_id
    assert check(again, held) == set(held) - set(gone), "what lies below the floor is over, whatever the index said"
    assert min(write(again, 1)) > max(held)
    again.stop()


def test_a_segment_that_vanished_costs_its_cases_and_they_are_counted(tmp_path: Path) -> None:
    spool = make(tmp_path)
    held = write(spool, 3)
    spool.stop()
    segments(tmp_path)[-1].unlink()
    again = make(tmp_path)
    assert again.waiting() == []
    assert again.evicted() == len(held)
    assert check(again, held) == set()
    again.stop()


def test_space_is_given_back_after_draining(tmp_path: Path) -> None:
    spool = make(tmp_path, capacity=1 << 24)
    held = dict[int, bytes]()
    for _ in range(10):
        held |= write(spool, 40, size=20_000)
    full = spool.state().disk_bytes
    assert full > 8_000_000
    assert len(segments(tmp_path)) > 4
    for sequence in held:
        spool.remove([sequence])
    assert spool.state().disk_bytes < full / 8
    assert sum(file.stat().st_size for file in segments(tmp_path)) == spool.state().disk_bytes
    assert (tmp_path / "spool.db").stat().st_size < 100_000
    spool.stop()


def test_holes_are_written_anew_so_that_the_disk_stays_bounded(tmp_path: Path) -> None:
    spool = make(tmp_path, capacity=1 << 20)
    chance = random.Random(1)
    held: dict[int, bytes] = {}
    for number in range(500):
        case = NewCase(payload=os.urandom(8000), value=chance.random(), is_audit=number % 5 == 0)
        result = spool.append_many([case])
        if result.sequences[0] is not None:
            held[result.sequences[0]] = case.payload
        assert spool.state().disk_bytes <= (1 << 20) * 1.25 + 3 * (64 << 10) + 10_000
    assert len(spool.waiting()) > 100
    assert check(spool, held) == {item.sequence for item in spool.waiting()}
    counts = spool.counts()
    spool.stop()
    again = make(tmp_path, capacity=1 << 20)
    assert again.counts() == counts
    assert check(again, held) == {item.sequence for item in again.waiting()}
    again.stop()


def former(folder: Path, cases: dict[int, bytes]) -> bytes:
    """Write a spool of schema 1 as its last version left it; returns its id."""
    key, spool_id = os.urandom(32), os.urandom(16)
    (folder / "spool.key").write_bytes(key)

    def sealed(payload: bytes, bound: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + AESGCM(key).encrypt(nonce, payload, bound)

    with sqlite3.connect(folder / "spool.db", isolation_level=None) as db:
        db.execute("pragma journal_mode = wal")
        db.execute("create table about (name text primary key, value blob not null)")
        db.execute("create table counters (name text primary key, n integer not null)")
        db.execute(
            "create table cases (sequence integer primary key, is_audit integer not null, value real not null,"
            " size integer not null, body blob not null)"
        )
        about = [("schema", b"1"), ("spool_id", spool_id), ("check", sealed(b"terrace spool", spool_id))]
        db.executemany("insert into about values (?, ?)", about)
        counters = [("next", max(cases) + 1), ("spooled:hard", len(cases) + 5), ("received:hard", 3), ("evicted:full:hard", 2)]
        db.executemany("insert into counters values (?, ?)", counters)
        rows = [(number, 0, 0.5, len(body), sealed(body, spool_id + number.to_bytes(8, "big"))) for number, body in cases.items()]
        db.executemany("insert into cases values (?, ?, ?, ?, ?)", rows)
    db.close()
    return spool_id


def test_a_spool_of_the_former_schema_is_taken_over_without_losing_a_case(tmp_path: Path) -> None:
    cases = {number: os.urandom(20_000) for number in range(7, 207)}
    spool_id = former(tmp_path, cases)
    before = recount(tmp_path / "spool.db")
    size = (tmp_path / "spool.db").stat().st_size
    spool = make(tmp_path, capacity=1 << 24)
    assert spool.spool_id == spool_id
    assert check(spool, cases) == set(cases)
    assert spool.counts() == before
    assert spool.set_aside is None
    assert (tmp_path / "spool.db").stat().st_size < size / 20, "the file is an index now"
    assert min(write(spool, 1)) > max(cases)
    spool.stop()
    again = make(tmp_path, capacity=1 << 24)
    assert len(again.waiting()) == len(cases) + 1
    again.stop()


def test_a_take_over_that_was_cut_short_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {number: os.urandom(1000) for number in range(1, 101)}
    former(tmp_path, cases)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("shared.link.takeover._become_index", killed)  # the last moment before the file is an index
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path)
    assert segments(tmp_path)
    spool = make(tmp_path)
    assert check(spool, cases) == set(cases)
    assert spool.counts().waiting_count == 100
    spool.stop()


def test_a_row_that_rotted_in_the_former_schema_is_counted(tmp_path: Path) -> None:
    former(tmp_path, {1: b"good", 2: b"rotten"})
    with sqlite3.connect(tmp_path / "spool.db") as db:
        db.execute("update cases set body = zeroblob(40) where sequence = 2")
    db.close()
    spool = make(tmp_path)
    assert check(spool, {1: b"good"}) == {1}
    assert spool.counts().counters["evicted:damaged:hard"] == 1
    spool.stop()
