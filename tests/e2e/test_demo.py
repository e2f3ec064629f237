"""The short story, end to end: real processes, real brokers, real TLS; five acts, each claim shown happening."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LARGEST_MB = 5120
STORY = [sys.executable, "-m", "shared.cli", "demo", "--short", "--plain"]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    done = subprocess.run([*STORY, "--report", str(folder)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-4000:]
    (folder / "screen.txt").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def report(told: Path) -> dict[str, Any]:
    return dict(json.loads((told / "report.json").read_text()))


def test_the_cascade_answers_most_frames_on_the_device_and_beats_it_alone(report: dict[str, Any]) -> None:
    assert report["edge_accuracy_gain_points"] > 0
    assert 0 < report["deferred_share"] < 0.5
    assert report["uplink_bytes_per_frame"] < report["all_frames_same_codec_bytes_per_frame"] < report["h264_bytes_per_frame"]


def test_nothing_is_lost_or_doubled_over_a_cut_link_and_kills(report: dict[str, Any]) -> None:
    assert report["kills"] >= 2
    assert report["frames_answered_in_cut"] > 0
    assert report["spool_peak_cases"] > 0
    assert report["cases_stored"] > 0
    assert (report["cases_lost"], report["cases_doubled"]) == (0, 0)


def test_a_round_by_need_makes_a_release_that_every_device_commits(report: dict[str, Any]) -> None:
    assert report["rounds"] == 1
    assert report["devices_committed"] == report["devices"]
    assert 0 < report["release_bytes_delta"] < report["release_bytes_full"]


def test_what_one_region_saw_helps_the_other(report: dict[str, Any]) -> None:
    assert report["drift_drop_points"] > 5
    assert report["drift_recovered_share"] > 0
    assert report["transfer_to_b_points"] > 0
    assert report["clean_forgetting_points"] < 5


def test_the_bad_release_stays_on_the_canary_and_is_taken_back(report: dict[str, Any]) -> None:
    assert report["bad_release_worse_points"] > 20
    assert report["bad_release_exposed_share"] == 0.25
    assert report["bad_release_taken_back_s"] <= 60


def test_no_picture_leaves_the_region(report: dict[str, Any]) -> None:
    assert report["pictures_left_region"] == 0


def test_all_processes_together_stay_small(report: dict[str, Any]) -> None:
    assert report["peak_memory_mb"] < LARGEST_MB


def test_the_report_has_a_page_and_a_plot_per_act(told: Path) -> None:
    assert {path.name for path in told.glob("*.png")} == {f"act-{act}.png" for act in range(1, 6)}
    page = (told / "report.html").read_text()
    assert all(f"Act {act} " in page for act in range(1, 6))
    assert "http" not in page.replace("https://localhost", "")


def test_every_act_says_what_it_claims_and_how_to_count_again(told: Path) -> None:
    screen = (told / "screen.txt").read_text()
    acts = screen.split("> Act ")[1:]
    assert len(acts) == 5
    assert all("  $ terrace " in act for act in acts)
    assert "in the place of two people" in " ".join(screen.split())


def test_ctrl_c_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = ["env", "--default-signal=INT", *STORY, "--act", "2"]  # a test run in the background has inherited it ignored
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if "cutting every connection" in line:
                break
        child.send_signal(signal.SIGINT)
        for line in child.stdout:
            if "Stopping everything" in line:
                child.send_signal(signal.SIGINT)  # whoever presses twice
        child.communicate(timeout=90)
    assert child.returncode == 130
    left = [path for path in Path("/proc").iterdir() if path.name.isdigit() and _mentions(path, str(tmp_path))]
    assert left == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_of_another_layout_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    environment = {**os.environ, "TERRACE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([*STORY, "--data", str(tmp_path / "pictures")], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode != 0
    assert "sub-folder" in done.stderr
    assert "Traceback" not in done.stderr


def _mentions(process: Path, words: str) -> bool:
    try:
        return words.encode() in (process / "cmdline").read_bytes()
    except OSError:
        return False
