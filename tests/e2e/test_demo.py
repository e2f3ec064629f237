"""The short demo, end to end: real processes, real broker, real TLS, once around the loop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

LARGEST_MB = 4096


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    folder = tmp_path_factory.mktemp("report")
    command = [sys.executable, "-m", "shared.cli", "demo", "--loop", "--short", "--plain", "--report", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return dict(json.loads((folder / "report.json").read_text()))


def test_nothing_is_lost_or_doubled(report: dict[str, float]) -> None:
    assert report["cases_spooled"] > 0
    assert report["cases_stored"] > 0
    assert (report["cases_lost"], report["cases_doubled"]) == (0, 0)


def test_a_round_makes_a_release_that_every_device_commits(report: dict[str, float]) -> None:
    assert report["rounds"] == 1
    assert report["devices_committed"] == report["devices"]
    assert 0 < report["release_bytes_delta"] < report["release_bytes_full"]


def test_no_picture_leaves_the_region(report: dict[str, float]) -> None:
    assert report["pictures_left_region"] == 0


def test_the_swap_drops_no_frame_beyond_the_usual(report: dict[str, float]) -> None:
    assert report["drops_beyond_steady_rate_in_swap"] == 0


def test_most_frames_are_answered_on_the_device(report: dict[str, float]) -> None:
    assert 0 < report["deferred_share"] < 0.5
    assert report["uplink_bytes_per_frame"] < report["all_frames_same_codec_bytes_per_frame"]


def test_all_processes_together_stay_small(report: dict[str, float]) -> None:
    assert report["peak_memory_mb"] < LARGEST_MB


def test_ctrl_c_leaves_no_process(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    child = subprocess.Popen(
        [sys.executable, "-m", "shared.cli", "demo", "--loop", "--short", "--plain"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("> Devices fetch"):
            break
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    assert child.returncode == 130
    left = [path for path in Path("/proc").iterdir() if path.name.isdigit() and _mentions(path, str(tmp_path))]
    assert left == []


def _mentions(process: Path, words: str) -> bool:
    try:
        return words.encode() in (process / "cmdline").read_bytes()
    except OSError:
        return False
