"""Stories of a vault: what is receipted is on disk, each case once, damage and full disks are said and survived."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from region.recount import recount
from region.schema import part_of
from region.vault import Incoming, Outcome, Vault
from shared.errors import StorageError
from shared.wire.messages import Case, Picture, Prediction, encode

SPOOL = bytes(range(16))
YES = Prediction(index=1, probabilities=(0.1, 0.9))


def case_of(sequence: int, *, unit: str = "board-1", is_audit: bool = False, size: int = 200) -> Case:
    picture = Picture(codec="png", width=8, height=8, data=sequence.to_bytes(4, "big") * (size // 4))
    return Case(
        stream="line", frame=sequence, unit=unit, captured_at=1.0, reason="margin", is_audit=is_audit, score=0.5, threshold=1.0, release=1,
        prediction=YES, picture=picture,
    )  # fmt: skip


def incoming(sequence: int, *, device: str = "edge-1.region-1", received_at: float = 100.0, **case: object) -> Incoming:
    made = case_of(sequence, **case)  # type: ignore[arg-type]
    return Incoming(device=device, spool=SPOOL, sequence=sequence, payload=encode(made), case=made, received_at=received_at)


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    vault = Vault(tmp_path / "vault.db")
    vault.start()
    yield vault
    vault.stop()


def test_a_case_is_stored_once_and_a_clone_is_set_aside(vault: Vault) -> None:
    first, second = vault.store([incoming(1), incoming(2)])
    assert (first.outcome, second.outcome) == (Outcome.NEW, Outcome.NEW)
    again, other = vault.store([incoming(1), incoming(2, size=400)])
    assert again.outcome is Outcome.DUPLICATE
    assert other.outcome is Outcome.CONFLICT
    counted = recount(vault.database.path)
    assert (counted.cases_stored, counted.cases_doubled, counted.digests_conflicting) == (2, 0, 1)
    assert vault.database.rows("SELECT count(*) FROM aside")[0][0] == 1


def test_the_same_case_twice_in_one_batch_is_one(vault: Vault) -> None:
    assert [stored.outcome for stored in vault.store([incoming(1), incoming(1)])] == [Outcome.NEW, Outcome.DUPLICATE]


def test_nothing_readable_lies_in_the_file(vault: Vault) -> None:
    vault.store([incoming(0x41414141)])
    vault.stop()
    assert b"AAAAAAAA" not in vault.database.path.read_bytes()
    assert vault.key_path.stat().st_mode & 0o077 == 0


def test_answers_survive_a_restart_and_only_the_rest_is_asked_again(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "vault.db")
    vault.start()
    stored = vault.store([incoming(1), incoming(2), incoming(3)])
    vault.store_answers([(stored[0].id, YES)], release=3, now=5.0)
    vault.refuse(stored[2].id, "picture")
    identifier = vault.vault_id
    vault.stop()
    again = Vault(tmp_path / "vault.db")
    again.start()
    assert again.vault_id == identifier
    assert [case.sequence for case in again.unanswered()] == [2]
    assert recount(tmp_path / "vault.db").cases_answered == 1
    again.stop()


def test_below_the_floor_is_old_and_dedupe_rows_are_pruned(vault: Vault) -> None:
    vault.store([incoming(number) for number in range(1, 6)])
    device = "edge-1.region-1"
    vault.store([], floors={(device, SPOOL): 4})
    vault.store([], floors={(device, SPOOL): 2})  # a floor never falls
    assert [stored.outcome for stored in vault.store([incoming(3), incoming(4)])] == [Outcome.OLD, Outcome.DUPLICATE]
    assert vault.database.rows("SELECT count(*) FROM dedupe")[0][0] == 2
    assert recount(vault.database.path).cases_stored == 5


def test_training_and_evaluation_never_share_a_unit(vault: Vault) -> None:
    items = [incoming(number, unit=f"board-{number % 20}", is_audit=number % 3 == 0) for number in range(1, 121)]
    stored = vault.store(items)
    vault.store_answers([(case.id, YES) for case in stored], release=1, now=1.0)
    train, evaluation = list(vault.cases(split="train")), list(vault.cases(split="evaluation"))
    assert train
    assert evaluation
    assert not {case.case.unit for case in train} & {case.case.unit for case in evaluation}
    assert all(case.case.is_audit and case.answer == YES for case in evaluation)
    assert [case.sequence for case in vault.cases(split="train", limit=3)] == [case.sequence for case in train[-3:]]
    assert part_of("line", "board-1", is_audit=True) == part_of("line", "board-1", is_audit=True)


def test_retention_by_bytes_drops_answered_hard_cases_first_and_stays_countable(vault: Vault) -> None:
    stored = vault.store([incoming(number, received_at=float(number), is_audit=number == 1, size=4000) for number in range(1, 11)])
    vault.store_answers([(case.id, YES) for case in stored[:6]], release=1, now=20.0)
    assert vault.retain(capacity_bytes=6 * 4300, max_age_s=1e9, now=20.0) >= 4
    counted = recount(vault.database.path)
    assert (counted.cases_stored, counted.cases_answered) == (10, 6)
    assert counted.devices["edge-1.region-1"].audit == 1
    assert vault.held_bytes == counted.bytes_held <= 6 * 4300
    assert vault.store([incoming(2, is_audit=False, size=4000)])[0].outcome is Outcome.DUPLICATE  # dedupe outlives retention
    vault.retain(capacity_bytes=1 << 40, max_age_s=1.0, now=1000.0)
    assert recount(vault.database.path).cases_held == 0


def test_a_full_disk_gives_no_receipt_and_goes_on_when_there_is_space(vault: Vault) -> None:
    vault.store([incoming(1)])
    pages = vault.database.rows("PRAGMA page_count")[0][0]
    vault.database.rows(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StorageError, match="Make space"):
        vault.store([incoming(number, size=8000) for number in range(2, 40)])
    assert recount(vault.database.path).cases_stored == 1
    vault.database.rows("PRAGMA max_page_count=100000")
    assert vault.store([incoming(2, size=8000)])[0].outcome is Outcome.NEW


def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "vault.db"
    vault = Vault(path)
    vault.start()
    vault.store([incoming(number, size=4000) for number in range(1, 30)])
    vault.stop()
    data = bytearray(path.read_bytes())
    data[4096:40960] = os.urandom(36864)
    path.write_bytes(data)
    with pytest.raises(StorageError, match=r"vault\.db is damaged.*move it aside"):
        Vault(path).start()
    assert path.read_bytes() == bytes(data)
    path.write_bytes(b"not a database at all" * 400)
    with pytest.raises(StorageError, match="damaged"):
        Vault(path).start()


def test_a_vault_without_its_key_does_not_open(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "vault.db")
    vault.start()
    vault.stop()
    key = vault.key_path.read_bytes()
    vault.key_path.unlink()
    with pytest.raises(StorageError, match="is missing"):
        Vault(tmp_path / "vault.db").start()
    vault.key_path.touch(mode=0o600)
    vault.key_path.write_bytes(bytes(len(key)))
    with pytest.raises(StorageError, match="does not open"):
        Vault(tmp_path / "vault.db").start()


def test_a_restored_backup_gets_a_new_vault_id(tmp_path: Path) -> None:
    path = tmp_path / "vault.db"
    for _ in range(2):
        vault = Vault(path)
        vault.start()
        vault.stop()
    backup, identifier = path.read_bytes(), vault.vault_id
    vault.start()
    vault.stop()
    assert vault.vault_id == identifier
    path.write_bytes(backup)
    restored = Vault(path)
    restored.start()
    restored.stop()
    assert restored.vault_id != identifier


WRITER = """
import sys
from collections.abc import Iterator
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_vault import incoming
from region.vault import Vault
from shared import log
log.configure()
vault = Vault(Path(sys.argv[1])); vault.start()
number = 1
while True:
    vault.store([incoming(number + i) for i in range(8)])
    number += 8
    sys.stdout.write(f"{number}\\n"); sys.stdout.flush()  # this is the receipt
"""


def test_kill_9_of_a_writer_loses_nothing_receipted(tmp_path: Path) -> None:
    path = tmp_path / "vault.db"
    receipted = 0
    for round_ in range(3):
        target = tmp_path / f"{round_}.db"
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(target), str(Path(__file__).parent)],
            stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        assert writer.stdout is not None
        deadline = time.monotonic() + 20
        for line in writer.stdout:
            receipted = int(line)
            if receipted > 60 + 40 * round_ or time.monotonic() > deadline:
                break
        writer.send_signal(signal.SIGKILL)
        for line in writer.stdout:
            if line.endswith(b"\n"):
                receipted = int(line)
        writer.wait()
        writer.stdout.close()
        path = target
        vault = Vault(path)
        vault.start()
        assert vault.store([incoming(number) for number in range(1, receipted)])[-1].outcome is Outcome.DUPLICATE
        vault.stop()
        counted = recount(path)
        assert counted.cases_stored >= receipted - 1
        assert counted.cases_doubled == 0
