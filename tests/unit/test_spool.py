"""The spool: what append has returned is never lost, and nothing it finds on the disk stops the device."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import StorageError
from shared.link.recount import recount
from shared.link.retention import Share, Shelf, Waiting
from shared.link.spool import NewCase, Spool
from tests.examples import examples

CAPACITY = 1_000_000


def make(folder: Path, capacity: int = CAPACITY) -> Spool:
    spool = Spool(folder / "spool.db", folder / "spool.key", capacity)
    spool.start()
    return spool


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = make(tmp_path)
    yield spool
    spool.stop()


def test_what_is_appended_is_there_after_a_restart(tmp_path: Path) -> None:
    spool = make(tmp_path)
    first = spool.append(b"one", is_audit=False, value=0.5)
    second = spool.append(b"two", is_audit=True, value=0.0)
    identity = spool.spool_id
    spool.stop()
    again = make(tmp_path)
    assert again.spool_id == identity
    assert [again.read(first), again.read(second)] == [b"one", b"two"]
    assert [(item.size, item.is_audit, item.value) for item in again.waiting()] == [(3, False, 0.5), (3, True, 0.0)]
    assert again.floor() == first
    again.stop()


def test_sequences_are_never_used_again_also_when_the_spool_was_emptied(tmp_path: Path) -> None:
    seen: list[int] = []
    for _ in range(3):
        spool = make(tmp_path)
        seen += [spool.append(b"x", is_audit=False, value=0.0) for _ in range(3)]
        spool.remove(seen)
        assert spool.floor() > seen[-1]
        spool.stop()
    assert seen == sorted(set(seen))


def test_nothing_in_the_file_is_readable_without_the_local_key(tmp_path: Path) -> None:
    spool = make(tmp_path)
    spool.append(b"a picture of a person" * 50, is_audit=False, value=0.0)
    spool.stop()
    assert all(b"picture" not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert (tmp_path / "spool.key").stat().st_mode & 0o777 == 0o600


def test_the_least_valuable_hard_case_gives_way_first(tmp_path: Path) -> None:
    spool = make(tmp_path, capacity=10_000)  # 7,500 bytes for hard cases
    sequences = [spool.append(bytes(1000), is_audit=False, value=value) for value in (5, 1, 3, 4, 2, 6, 7)]
    result = spool.append_many([NewCase(payload=bytes(2000), value=2.5)])
    assert result.evicted == (sequences[1], sequences[4])
    assert spool.append(bytes(1000), is_audit=False, value=0.1) is None, "it is the least valuable itself"
    counts = spool.counts()
    assert (counts.spooled, counts.evicted, counts.declined, counts.waiting_count) == (8, 2, 1, 6)
    spool.stop()


def test_hard_cases_never_crowd_out_audit_samples(tmp_path: Path) -> None:
    spool = make(tmp_path, capacity=10_000)
    audit = [spool.append(bytes(500), is_audit=True, value=0.0) for _ in range(5)]
    for value in range(30):
        spool.append(bytes(1000), is_audit=False, value=float(value))
    waiting = {item.sequence for item in spool.waiting()}
    assert set(audit) <= waiting
    spool.stop()


def test_audit_samples_give_way_at_random_so_that_the_rest_stays_a_fair_sample() -> None:
    survivors = [0] * 40
    for trial in range(500):
        shelf = Shelf(capacity_bytes=4_000, key=b"%d" % trial)  # room for 10 audit samples of 100 bytes
        for number in range(40):
            item = Waiting(sequence=number, size=100, is_audit=True, value=float(number))
            victims = shelf.victims(item)
            if victims is not None:
                shelf.remove(victims)
                shelf.add(item)
        for item in shelf.waiting():
            survivors[item.sequence] += 1
    assert sum(survivors) == 500 * 10
    assert all(abs(sum(survivors[start : start + 10]) - 1250) < 100 for start in (0, 10, 20, 30)), "old and new survive alike"


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from(list(Share)), st.floats(0, 1)), max_size=120))
def test_no_share_ever_exceeds_its_room(items: list[tuple[int, Share, float]]) -> None:
    shelf = Shelf(capacity_bytes=2000, key=b"k")
    for number, (size, share, value) in enumerate(items):
        item = Waiting(sequence=number, size=size, is_audit=share is Share.AUDIT, value=value)
        victims = shelf.victims(item)
        if victims is not None:
            assert {found.share for found in shelf.remove(victims)} <= {share}
            shelf.add(item)
        used = {each: sum(found.size for found in shelf.waiting() if found.share is each) for each in Share}
        assert all(used[each] <= int(2000 * each.value) for each in Share)
        assert shelf.size_bytes == sum(used.values())


def test_what_a_receipt_removes_is_counted_apart_from_what_is_evicted(spool: Spool, tmp_path: Path) -> None:
    sequences = [spool.append(bytes(10), is_audit=number % 2 == 0, value=0.0) for number in range(6)]
    assert spool.remove([*sequences[:4], 999]) == 4
    assert spool.remove(sequences[:4]) == 0
    counts = recount(tmp_path / "spool.db")
    assert counts == spool.counts()
    assert (counts.spooled, counts.received, counts.evicted, counts.waiting) == (6, 4, 0, ((sequences[4], sequences[5]),))


def test_two_processes_cannot_share_a_spool(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="another process"):
        make(tmp_path)


WRITER = """
import os, sys
from pathlib import Path
from shared.link.spool import NewCase, Spool
folder = Path(sys.argv[1])
spool = Spool(folder / "spool.db", folder / "spool.key", 1 << 30)
spool.start()
while True:
    group = [NewCase(payload=os.urandom(2000), is_audit=n % 5 == 0, value=n / 16) for n in range(16)]
    appended = spool.append_many(group)
    os.write(1, b"".join(b"%d %s\\n" % (s, m.payload[:16].hex().encode()) for s, m in zip(appended.sequences, group)))
"""


def test_kill_9_while_writing_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    acknowledged: dict[int, str] = {}
    for wanted in (16, 200, 64):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(wanted)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
        for line in lines:
            if line.endswith(b"\n"):
                sequence, start = line.split()
                assert int(sequence) not in acknowledged, "a sequence was used twice"
                acknowledged[int(sequence)] = start.decode()
    spool = make(tmp_path, capacity=1 << 30)
    assert len(acknowledged) >= 280
    for sequence, start in acknowledged.items():
        payload = spool.read(sequence)
        assert payload is not None
        assert payload[:16].hex() == start
    counts = recount(tmp_path / "spool.db")
    assert counts.spooled == counts.waiting_count >= len(acknowledged)
    assert spool.set_aside is None
    spool.stop()


@pytest.mark.parametrize("content", [b"not a database", bytes(8192), b"SQLite format 3\x00" + bytes(100)], ids=["text", "zeros", "header"])
def test_a_damaged_file_is_set_aside_and_a_new_spool_begins(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "spool.db").write_bytes(content)
    spool = make(tmp_path)
    assert spool.set_aside is not None
    assert spool.set_aside.read_bytes()[: len(content)] == content
    assert spool.append(b"x", is_audit=False, value=0.0) == 1
    spool.stop()


@pytest.mark.parametrize("key", [None, b"short", bytes(32)], ids=["gone", "cut", "another"])
def test_without_its_key_the_spool_is_set_aside_with_its_cases(tmp_path: Path, key: bytes | None) -> None:
    spool = make(tmp_path)
    spool.append(b"x", is_audit=False, value=0.0)
    identity = spool.spool_id
    spool.stop()
    (tmp_path / "spool.key").unlink()
    if key is not None:
        (tmp_path / "spool.key").write_bytes(key)
    again = make(tmp_path)
    assert again.spool_id != identity
    assert again.set_aside is not None
    assert recount(again.set_aside).waiting_count == 1
    again.stop()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="spool"):
        make(tmp_path / "file")


def test_several_threads_append_and_remove_together(spool: Spool) -> None:
    def work() -> None:
        for _ in range(10):
            sequences = spool.append_many([NewCase(payload=bytes(50))] * 4).sequences
            spool.remove(sequences[:2])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = spool.counts()
    assert (counts.spooled, counts.received, counts.waiting_count) == (160, 80, 80)


def test_recount_names_a_spool_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no spool"):
        recount(tmp_path / "none.db")
