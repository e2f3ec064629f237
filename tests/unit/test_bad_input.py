"""All that is wrong with cameras, models and budgets, met at once by a process: it says so, counts it, answers on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge import livewords
from edge.metrics import text
from shared.status import read_status
from tests.rtsp import Camera, encode
from tests.unit import seeing_models
from tests.unit.edge_parts import SIZE
from tests.unit.test_edge_agent import Site
from tests.waiting import until

CAMERAS = ("well", "dying", "silent", "garbage", "sizes", "backwards", "frozen")
SMALL = encode([np.full((48, 64, 3), 20 + 20 * number, np.uint8) for number in range(10)])
LARGE = encode([np.full((96, 128, 3), 60 + 20 * number, np.uint8) for number in range(5)])
SAME = encode([np.full((48, 64, 3), 90, np.uint8)] * 5, every=1)


class Plant:
    """A device with one camera of every kind, two replayed data sets, a model whose answer to white is no number, and no budget."""

    def __init__(self, folder: Path, cameras: dict[str, Camera]) -> None:
        self.site, self.cameras = Site(folder), cameras
        secret = folder / "camera.secret"
        secret.write_text("operator:hunter22\n")
        secret.chmod(0o600)
        np.savez(folder / "white.npz", frames=np.full((4, SIZE, SIZE, 3), 255, np.uint8))
        np.savez(folder / "bright.npz", frames=np.full((4, SIZE, SIZE, 3), (200, 9, 9), np.uint8))
        seeing_models.write(folder / "odd", seeing_models.logarithmic(), task="classification", labels=("red", "green"), calibration=None)
        streams = [
            f'name = "{name}"\nkind = "rtsp"\nurl = "{camera.url}"\ncredentials = "camera.secret"' for name, camera in cameras.items()
        ]
        streams += [f'name = "{name}"\nkind = "replay"\npath = "{name}.npz"\nfps = 5.0' for name in ("white", "bright")]
        self.site.write(**{'path = "model"': 'path = "odd"'})
        whole = self.site.config.read_text().partition("[[streams]]")[0]
        self.site.config.write_text(whole + "[budget]\nbytes_per_s = 0.0\n" + "".join(f"[[streams]]\n{one}\n" for one in streams))

    def status(self) -> dict[str, Any]:
        return read_status(self.site.state / "status.sock")

    def streams(self) -> dict[str, Any]:
        found: dict[str, Any] = self.status()["streams"]
        return found

    def answered(self, stream: str) -> int:
        one = self.streams()[stream]
        return int(one["kept"] + one["deferred"] + one["audited"])


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with ExitStack() as stack:
        cameras = {
            name: stack.enter_context(Camera(SAME if name == "frozen" else SMALL, fps=10, credentials="operator:hunter22"))
            for name in CAMERAS
        }
        made = Plant(tmp_path, cameras)
        process = made.site.run()
        try:
            until((made.site.state / "status.sock").exists, (made.site.folder / "log").read_text, within_s=60)
            yield made
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@pytest.mark.slow
def test_whatever_is_wrong_with_one_stream_is_said_and_counted_and_the_others_are_answered(plant: Plant) -> None:
    until(
        lambda: all(one["picture"] == "64x48" for name, one in plant.streams().items() if name in CAMERAS),
        lambda: str(plant.streams()),
        within_s=120,
    )
    cameras = plant.cameras
    cameras["dying"].hang_up()
    cameras["silent"].frozen = cameras["garbage"].garbage = True
    cameras["sizes"].units = LARGE
    cameras["backwards"].shift_s = -500.0
    until(lambda: plant.streams()["sizes"]["picture"] == "128x96", within_s=60)
    until(lambda: plant.streams()["dying"]["connections"] >= 2, within_s=60)
    for name in ("silent", "garbage"):
        until(lambda name=name: plant.streams()[name]["reason"] or plant.streams()[name]["connections"] > 1, within_s=90)
    until(lambda: plant.streams()["frozen"]["frozen_s"] >= 30.0, within_s=120)
    status = plant.status()
    assert status["streams"]["backwards"]["connections"] == 1
    assert (status["streams"]["well"]["connections"], status["streams"]["well"]["reason"]) == (1, "")
    assert status["streams"]["white"]["failed"] > 0
    assert "not finite" in status["model"]["reason"]
    assert "no calibration, only audit samples are sent" in "\n".join(livewords.lines(status))
    assert (status["budget"]["rate"], sum(one["deferred"] for one in status["streams"].values())) == (0.0, 0)
    assert 'frames_failed_total{stream="white"}' in text(status).replace("terrace_edge_", "")
    before = {name: plant.answered(name) for name in ("well", "sizes", "backwards", "frozen", "bright", "dying")}
    until(lambda: all(plant.answered(name) > count + 3 for name, count in before.items()), lambda: str(plant.streams()), within_s=60)
    events = [json.loads(line) for line in plant.site.events_file.read_bytes().splitlines()]
    assert {event["stream"] for event in events} >= set(before)
    assert {event["reason"] for event in events} <= {"uncalibrated", "audit_sample"}
    words = plant.site.command("status")
    assert "model    failed on frames: the model answered with numbers that are not finite" in words
    assert "the picture has not changed for" in words
    said = (plant.site.folder / "log").read_text() + msgspec.json.encode(status).decode()
    assert "hunter22" not in said
