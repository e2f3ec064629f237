"""Two slots and a pointer: after every interruption the device starts with a whole model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edge.slots import Slots
from shared.errors import StorageError
from shared.release.card import sha256
from tests.examples import LONG_RUN


def stage(slots: Slots, release: int) -> None:
    slots.make_live(slots.stage(b"model %d" % release, b"card %d" % release, release=release, role="manual"))


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    made = Slots(tmp_path)
    stage(made, 1)
    made.commit()
    return made


def test_a_fresh_device_has_nothing(tmp_path: Path) -> None:
    boot = Slots(tmp_path / "new").boot()
    assert (boot.slot, boot.on_probation, boot.given_up) == (None, False, None)


def test_a_committed_release_starts(slots: Slots) -> None:
    boot = slots.boot()
    assert boot.slot is not None
    assert (boot.slot.record.release, boot.slot.onnx.read_bytes(), boot.on_probation) == (1, b"model 1", False)


def test_an_uncommitted_release_is_given_up_after_some_starts(slots: Slots) -> None:
    stage(slots, 2)
    for _ in range(3):
        boot = slots.boot()
        assert boot.slot is not None
        assert (boot.slot.record.release, boot.on_probation) == (2, True)
    boot = slots.boot()
    assert boot.slot is not None
    assert boot.given_up is not None
    assert (boot.slot.record.release, boot.given_up.release) == (1, 2)
    assert "3 starts" in boot.reason
    assert sha256(b"model 2") in slots.quarantined()


def test_falling_back_keeps_the_old_and_remembers_why(slots: Slots) -> None:
    stage(slots, 2)
    live = slots.live()
    assert live is not None
    back = slots.fall_back(live.record, "it was slow")
    assert back is not None
    assert back.record.release == 1
    assert slots.quarantined() == {sha256(b"model 2"): "it was slow"}
    stage(slots, 3)
    slots.commit()
    assert slots.live() == slots.committed()


def test_a_committed_release_is_taken_back_also_across_a_power_cut(slots: Slots, tmp_path: Path) -> None:
    stage(slots, 2)
    slots.commit()
    live = slots.live()
    assert live is not None
    slots.quarantine(live.record, "it disagrees")  # and the power goes before the pointer is moved
    boot = Slots(tmp_path).boot()
    assert boot.slot is not None
    assert boot.given_up is not None
    assert (boot.slot.record.release, boot.given_up.release, boot.reason, boot.on_probation) == (1, 2, "it disagrees", False)
    assert slots.take_back(boot.slot.record, "there is no other") is None
    assert boot.slot.record.onnx_sha256 not in slots.quarantined()


def test_taking_back_returns_to_the_release_before(slots: Slots) -> None:
    stage(slots, 2)
    slots.commit()
    live = slots.live()
    assert live is not None
    back = slots.take_back(live.record, "it disagrees")
    assert back is not None
    assert (back.record.release, slots.committed(), sha256(b"model 2") in slots.quarantined()) == (1, back, True)


def test_no_slot_is_written_while_both_are_needed(slots: Slots) -> None:
    stage(slots, 2)
    with pytest.raises(StorageError, match="no slot is free"):
        slots.stage(b"model 3", b"card", release=3, role="manual")


@pytest.mark.parametrize("name", ["model.onnx", "card.json", "slot.json"])
def test_a_damaged_live_slot_gives_way_to_the_other(slots: Slots, tmp_path: Path, name: str) -> None:
    stage(slots, 2)
    slots.commit()
    (tmp_path / "b" / name).write_bytes(b"{}")
    boot = slots.boot()
    assert boot.slot is not None
    assert boot.slot.record.release == 1
    (tmp_path / "a" / name).unlink()
    assert slots.boot().slot is None


def test_a_damaged_pointer_ends_at_the_proven_release(slots: Slots, tmp_path: Path) -> None:
    stage(slots, 2)
    (tmp_path / "current").write_bytes(b"\0\0")
    boot = slots.boot()
    assert boot.slot is not None
    assert (boot.slot.record.release, boot.on_probation) == (1, False)


def test_what_is_staged_is_found_again_only_when_it_is_the_same(slots: Slots) -> None:
    slots.stage(b"model 2", b"card 2", release=2, role="auto")
    assert slots.staged(sha256(b"model 2"), sha256(b"card 2")) is not None
    assert slots.staged(sha256(b"model 2"), sha256(b"card 3")) is None


POWER_CUT = """
    import os, signal, sys
    from pathlib import Path
    from edge.slots import Slots
    steps = int(sys.argv[2])
    def cut(call):
        def counted(*given, **more):
            global steps
            if steps == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            steps -= 1
            return call(*given, **more)
        return counted
    for name in ("fsync", "replace", "unlink", "rename", "fchmod", "mkdir"):
        setattr(os, name, cut(getattr(os, name)))
    slots = Slots(Path(sys.argv[1]))
    slots.make_live(slots.stage(b"model 2", b"card 2", release=2, role="manual"))
    live = slots.live()
    if sys.argv[3] == "commit":
        slots.commit()
    else:
        slots.fall_back(live.record, "bad")
"""


@pytest.mark.parametrize("end", ["commit", "fall back"])
def test_a_kill_at_any_step_leaves_a_whole_model(tmp_path: Path, end: str) -> None:
    """Runs the whole life of an update, killed before its first, second, third … system call that changes the disk."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    seen = set()
    for steps in range(0, 60, 1 if LONG_RUN else 3):
        folder = tmp_path / str(steps)
        slots = Slots(folder)
        stage(slots, 1)
        slots.commit()
        command = [sys.executable, "-c", textwrap.dedent(POWER_CUT), str(folder), str(steps), end]
        code = subprocess.run(command, env=environment).returncode
        assert code in {0, -signal.SIGKILL}
        boot = Slots(folder).boot()
        assert boot.slot is not None
        release = boot.slot.record.release
        assert boot.slot.onnx.read_bytes() == b"model %d" % release
        seen.add((release, boot.on_probation))
        if code == 0:
            assert (release, boot.on_probation) == ((2, False) if end == "commit" else (1, False))
            break
        Slots(folder).boot()
    assert {(1, False), (2, True)} <= seen
