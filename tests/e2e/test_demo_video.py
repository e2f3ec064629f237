"""A user's own video or camera with an imported release: real processes from frame to expert, ended by Ctrl-C or by time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from tests.rtsp import Camera, encode
from tests.unit import seeing_models

COMMAND = ["env", "--default-signal=INT", sys.executable, "-m", "shared.cli", "demo", "--plain", "--keep", "--video"]
PICTURES = [np.full((64, 96, 3), (250, 8 * number, 0), np.uint8) for number in range(24)]


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return seeing_models.with_expert(seeing_models.write_detector(tmp_path / "release"))


def started(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    return subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def check_told(child: subprocess.Popen[str], said: str) -> None:
    assert child.returncode == 0, said
    words = " ".join(said.split())
    assert "detection: spot, crack" in words
    assert "pictures at region-1: https://127.0.0.1:" in words
    assert "the region's expert answered" in words
    assert "recounted from the files: lost 0, doubled 0" in words
    assert "pictures that left the region: 0" in words


def test_a_file_is_played_on_and_on_until_ctrl_c(tmp_path: Path, release: Path, video: Path) -> None:
    with started(tmp_path, str(video), "--model", str(release)) as child:
        assert child.stdout is not None
        said = []
        for line in child.stdout:
            said.append(line)
            if " answered" in line and "cases at the region, 0 answered" not in line and "frames answered" in line:
                child.send_signal(signal.SIGINT)
                break
        said.append(child.stdout.read())
    check_told(child, "".join(said))
    assert "ended by Ctrl-C" in "".join(said)


@pytest.mark.slow
def test_a_camera_is_watched_for_some_seconds(tmp_path: Path, release: Path) -> None:
    with Camera(encode(PICTURES)) as live, started(tmp_path, live.url, "--model", str(release), "--for", "12") as child:
        said = child.communicate(timeout=240)[0]
    check_told(child, said)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A short file of the same pictures."""
    path = tmp_path / "line.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *PICTURES[0].shape[:2], "yuv420p"
        for picture in PICTURES:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path
