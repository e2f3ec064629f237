"""A disk that cannot be written: cases wait in bounded memory, an alarm stands, nothing is called durable, and it ends by itself.

The disks are real ones, small and in memory, mounted by a process with a mount namespace of its own (tests/unit/spool_scenes.py).
As root, a folder without write permission would prove nothing.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shared.link.recount import recount
from shared.link.segments import Segments
from shared.link.spool import RETRY_S, Spool
from tests.unit.spool_scenes import SCENES


def can_mount() -> bool:
    """Whether this user may make a mount namespace and mount in it."""
    command = shutil.which("unshare")
    return command is not None and subprocess.run([command, "--mount", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="mounting a small disk needs root, or unshare is missing")
@pytest.mark.parametrize("scene", SCENES)
def test_on_a_real_disk(scene: str, tmp_path: Path) -> None:
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.unit.spool_scenes", scene, str(tmp_path)]
    played = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert played.returncode == 0, played.stderr[-2000:]
    assert "spool_in_memory" in played.stdout + played.stderr, "the alarm stands in the log"
    assert list(tmp_path.iterdir()) == [], "nothing is left mounted"


class FailingDisk:
    """Stands in the way of every write to a segment, as a failing disk would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failing = False
        self._write, self._sync = os.write, os.fdatasync
        self.sync_fails = False
        monkeypatch.setattr("shared.link.segments.os.write", self.write)
        monkeypatch.setattr("shared.link.segments.os.fdatasync", self.sync)

    def write(self, file: int, data: bytes) -> int:
        """Write half of it at most, then fail."""
        if not self.failing:
            return self._write(file, data)
        if len(data) > 100:
            return self._write(file, data[: len(data) // 2])
        self.fail()
        return 0

    def sync(self, file: int) -> None:
        """Sync, or fail after the bytes were written."""
        if self.sync_fails:
            self.fail()
        self._sync(file)

    def fail(self) -> None:
        """Fail as a disk does."""
        raise OSError(errno.EIO, "Input/output error")


def make(folder: Path) -> Spool:
    spool = Spool(folder / "spool.db", folder / "spool.key", 1 << 20)
    spool.start()
    return spool


@pytest.mark.parametrize("how", ["failing", "sync_fails"])
def test_a_write_that_fails_half_way_costs_nothing_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    spool = make(tmp_path)
    disk = FailingDisk(monkeypatch)
    before = spool.append(b"before" * 100, is_audit=False, value=0.0)
    setattr(disk, how, True)
    during = spool.append(b"during" * 100, is_audit=False, value=0.0)
    assert before is not None
    assert during is not None
    assert "Input/output error" in spool.state().alarm
    assert [spool.read(before), spool.read(during)] == [b"before" * 100, b"during" * 100]
    assert recount(tmp_path / "spool.db").waiting == ((before, before),)
    spool.tend(RETRY_S)
    assert spool.state().alarm, "it still fails"
    setattr(disk, how, False)
    spool.tend(RETRY_S + 1)
    assert spool.state().alarm, "it is not tried again at once"
    spool.tend(2 * RETRY_S)
    assert not spool.state().alarm
    assert recount(tmp_path / "spool.db") == spool.counts()
    spool.stop()
    again = make(tmp_path)
    assert {item.sequence: again.read(item.sequence) for item in again.waiting()} == {before: b"before" * 100, during: b"during" * 100}
    again.stop()


def test_what_a_failed_sync_left_behind_is_the_same_case_under_the_same_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before it could go back to the disk: the region may have the case already, and must know it as the same one."""
    spool = make(tmp_path)
    disk = FailingDisk(monkeypatch)
    monkeypatch.setattr("shared.link.segments.os.ftruncate", lambda *_: disk.fail())  # nor can it be cut off
    disk.sync_fails = True
    during = spool.append(b"during", is_audit=False, value=0.0)
    shutil.copytree(tmp_path, tmp_path / "killed")
    disk.sync_fails = False
    again = make(tmp_path / "killed")
    assert {item.sequence: again.read(item.sequence) for item in again.waiting()} == {during: b"during"}
    again.stop()
    spool.stop()


def test_a_confirmation_that_could_not_be_noted_is_noted_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = make(tmp_path)
    first, second = spool.append(b"1", is_audit=False, value=0.0), spool.append(b"2", is_audit=False, value=0.0)
    assert first is not None
    disk = FailingDisk(monkeypatch)
    disk.sync_fails = True
    spool.append(b"3", is_audit=False, value=0.0)
    assert spool.remove([first]) == 1
    assert spool.read(first) is None
    assert recount(tmp_path / "spool.db").waiting_count == 2, "the files have not heard of it"
    disk.sync_fails = False
    spool.tend(RETRY_S)
    counts = recount(tmp_path / "spool.db")
    assert counts == spool.counts()
    assert (counts.received, counts.waiting_count) == (1, 2)
    assert second is not None
    spool.stop()


def test_a_new_spool_on_a_disk_that_cannot_be_written_becomes_durable_under_the_same_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as broken:
        broken.setattr("shared.link.spooldisk.hold", fail)
        spool = make(tmp_path)
    identity, sequence = spool.spool_id, spool.append(b"early", is_audit=False, value=0.0)
    assert "Read-only" in spool.state().alarm
    assert len(identity) == 16
    assert sequence is not None
    spool.tend(RETRY_S)
    assert spool.spool_id == identity
    assert recount(tmp_path / "spool.db").spool_id == identity.hex()
    assert recount(tmp_path / "spool.db").waiting_count == 1
    spool.stop()


def test_a_segment_that_failed_is_never_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = Segments(tmp_path / "segments")
    segments.begin(1, b"header")
    disk = FailingDisk(monkeypatch)
    disk.failing = True
    with pytest.raises(OSError, match="Input/output"):
        segments.append([bytes(1000)])
    disk.failing = False
    with pytest.raises(OSError, match="no segment"):
        segments.append([bytes(10)])
    assert segments.size(1) == len(b"header")
