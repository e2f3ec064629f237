"""The doctor beside a real agent and a real region, while the pieces between them are frozen, taken away and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_edge_region import RUN, Pair
from tests.waiting import until

pytestmark = pytest.mark.slow
LINK = [sys.executable, "-c", "from edge.link_cli import app; app()"]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()


def doctor(pair: Pair) -> tuple[int, dict[str, Any]]:
    command = [*LINK, "doctor", "--config", str(pair.folder / "edge.toml"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    said = json.loads(done.stdout)
    assert said["exit_code"] == done.returncode, done.stderr
    return done.returncode, {one["check"]: one for one in said["checks"]}


def broker_of(region: subprocess.Popen[bytes]) -> int:
    children = Path(f"/proc/{region.pid}/task/{region.pid}/children").read_text().split()
    everyone = {int(child) for task in Path(f"/proc/{region.pid}/task").iterdir() for child in (task / "children").read_text().split()}
    return next(pid for pid in everyone | set(map(int, children)) if b"mosquitto" in Path(f"/proc/{pid}/cmdline").read_bytes())


def test_it_finds_each_piece_that_is_taken_away(pair: Pair) -> None:
    edge, region = pair.start("edge"), pair.start("region")
    until(lambda: pair.link()["connected"] and pair.link()["answers"] > 3, within_s=40)

    code, found = doctor(pair)
    assert code == 0, found
    assert "delivers to the agent" in found["access"]["found"]
    assert pair.link()["connections"] == 1  # looked at, and not taken over

    broker = broker_of(region)
    os.kill(broker, signal.SIGSTOP)
    code, found = doctor(pair)
    os.kill(broker, signal.SIGCONT)
    assert (code, found["tcp"]["outcome"]) == (14, "ok")
    assert "says nothing" in found["tls"]["found"]

    region_toml = str(pair.folder / "region.toml")
    subprocess.run([*RUN, "region", "revoke", "edge-1.region-1", "--config", region_toml], check=True, capture_output=True)
    until(lambda: doctor(pair)[0] == 20, within_s=30, every_s=0.5)
    assert "is revoked" in doctor(pair)[1]["access"]["found"]
    subprocess.run([*RUN, "region", "revoke", "edge-1.region-1", "--undo", "--config", region_toml], check=True, capture_output=True)
    until(lambda: doctor(pair)[0] == 0, within_s=60, every_s=0.5)

    region.kill()
    region.wait()
    code, found = doctor(pair)
    assert code == 14
    assert "nobody listens" in found["tcp"]["found"]
    assert edge.poll() is None
