"""A detector's training in a process of its own, killed with -9 again and again: it ends bit for bit as one that ran through."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cloud.foundry import boards, detectortraining, teaching
from cloud.foundry.schooling import DetectorPlan, Schooling
from shared.learning import course, detector
from tests.plates import NAMES, plates
from tests.waiting import until

STEPS = 12
PLAN = DetectorPlan(student=Schooling(steps=STEPS, rate=1e-2), expert=Schooling(steps=STEPS), crop_px=64, batch=4, threads=1)


def train(folder: Path) -> None:
    """Train a tiny student there; the state is written after every step, so that a kill falls between two writings or into one."""
    tiny = detector.Widths((16, 16, 32, 32, 32), 0, 0, 32)
    detector.FAMILIES["student"] = lambda classes: detector.Detector(classes, tiny)
    course.run.__kwdefaults__["every_s"] = 0.0
    scenes = plates(16)
    seed = boards.Boards(scenes=scenes, units=tuple(map(str, range(16))), groups=("seen",) * 16, names=NAMES)
    detectortraining.train(folder, "student", seed, PLAN, lambda line: print(line, flush=True))


def _state(folder: Path) -> bytes:
    path = folder / teaching.STATE
    return path.read_bytes() if path.exists() else b""


@pytest.mark.slow
def test_a_training_killed_thrice_ends_as_one_that_ran_through(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "import sys, pathlib; from tests.probe.test_training_kills import train; train(pathlib.Path(sys.argv[1]))",
    ]
    through, killed = tmp_path / "through", tmp_path / "killed"
    for folder in (through, killed):
        folder.mkdir()
    subprocess.run([*command, str(through)], check=True, stdout=subprocess.DEVNULL)
    kills = 0
    while kills < 3:
        before = _state(killed)
        process = subprocess.Popen([*command, str(killed)], stdout=subprocess.DEVNULL)
        until(lambda before=before, process=process: _state(killed) != before or process.poll() is not None, "a step", within_s=120)  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it was too fast to be killed: give it more steps"
        kills += 1
    assert (killed / teaching.STATE).is_file()
    assert not (killed / "student.onnx").exists()
    subprocess.run([*command, str(killed)], check=True, stdout=subprocess.DEVNULL)
    assert not (killed / teaching.STATE).exists(), "a finished training leaves its network, not its state"
    assert (killed / "student.onnx").read_bytes() == (through / "student.onnx").read_bytes()
    with np.load(through / "student.npz") as one, np.load(killed / "student.npz") as other:
        assert one.files == other.files
        assert all(np.array_equal(one[name], other[name]) for name in one.files)
