"""One device and one region as real processes: the device answers before its region exists, and nothing is lost or doubled by kills."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from provisioning.pki import create_fleet
from shared.errors import LinkError
from shared.status import read_status
from tests.unit.edge_parts import SIZE, write_release
from tests.waiting import until

RUN = [sys.executable, "-c", "import sys; sys.argv[0] = 'terrace'; from shared.cli import main; main()"]
HOSTS = ["127.0.0.1", "localhost"]


class Pair:
    """The files and processes of a region and its device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events_file = folder / "events.jsonl"
        authority = create_fleet(folder / "pki", "acme")
        authority.issue_region("region-1", "server", HOSTS, destination=folder / "server")
        authority.issue_region("region-1", "intake-0", [], destination=folder / "workers" / "intake-0")
        authority.issue_region_device_ca("region-1")
        authority.issue_device("region-1", "edge-1", destination=folder / "identity")
        write_release(folder / "student", threshold=3.0)
        expert = write_release(folder / "expert", weights=[[0.0, 9.0], [9.0, 0.0], [0.0, 0.0]])  # the other way round: seen in events
        (folder / "000001.onnx").write_bytes((expert / "model.onnx").read_bytes())
        (folder / "000001.card.json").write_bytes((expert / "card.json").read_bytes().replace(b'"student"', b'"expert"'))
        frames = np.random.default_rng(0).integers(0, 255, (40, SIZE, SIZE, 3), dtype=np.uint8)
        frames[::2, ..., 1] //= 4  # every other picture is clearly red
        np.savez(folder / "data.npz", frames=frames, units=np.array([f"board-{n}" for n in range(40)]))
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
        broker, worker, machines, ops = (one.getsockname()[1] for one in sockets)
        for one in sockets:
            one.close()
        (folder / "region.toml").write_text(
            f'name = "region-1"\nfleet = "acme"\nstate = "region"\n[identity]\nfolder = "server"\nworkers = "workers"\n'
            f"[broker]\nport = {broker}\nworker_port = {worker}\n[machines]\nport = {machines}\n[ops]\nport = {ops}\n"
            f'[expert]\npath = "000001.onnx"\n'
        )
        (folder / "edge.toml").write_text(
            f'name = "edge-1"\nregion = "region-1"\nfleet = "acme"\nstate = "edge"\n[identity]\nfolder = "identity"\n'
            f'[link]\nhost = "127.0.0.1"\nport = {broker}\nrelay_url = "https://127.0.0.1:{machines}"\n'
            f'[policy]\naudit_share = 0.1\nanswer_deadline_s = 2.0\n[model]\npath = "student"\n[outputs]\nfile = "events.jsonl"\n'
            f'[[streams]]\nname = "line-1"\nkind = "replay"\npath = "data.npz"\nfps = 25.0\n'
        )
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, tier: str) -> subprocess.Popen[bytes]:
        verb = "run" if tier == "edge" else "serve"
        with (self.folder / f"{tier}.log").open("ab") as log:
            process = subprocess.Popen([*RUN, tier, verb, "--config", str(self.folder / f"{tier}.toml")], stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def counted(self, tier: str) -> Any:
        verb = "spool" if tier == "edge" else "vault"
        command = [*RUN, tier, verb, "--config", str(self.folder / f"{tier}.toml"), "--json"]
        return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)

    def link(self) -> Any:
        try:
            return read_status(self.folder / "edge" / "status.sock")["link"]
        except LinkError:
            return {"connected": False, "answers": 0}

    def sources(self, state: str = "final") -> list[str]:
        found = []
        for line in self.events_file.read_bytes().splitlines() if self.events_file.exists() else []:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if event["state"] == state:
                found.append(event["source"])
        return found


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path)
    yield pair
    for process in pair.processes:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_the_device_never_stops_and_nothing_is_lost_or_doubled(pair: Pair) -> None:
    edge = pair.start("edge")
    until(lambda: "expired" in pair.sources(), within_s=20)  # no region yet: local answers, and deadlines that say so
    region = pair.start("region")
    until(lambda: pair.link()["connected"], within_s=30)
    until(lambda: pair.sources().count("region") > 10, within_s=20)
    region.kill()
    region.wait()
    seen = len(pair.sources())
    until(lambda: len(pair.sources()) > seen + 20, within_s=20)
    region = pair.start("region")
    edge.kill()
    edge.wait()
    edge = pair.start("edge")
    until(lambda: pair.link()["answers"] > 10, within_s=30)
    for process in (edge, region):
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    spool, vault = pair.counted("edge"), pair.counted("region")
    assert spool["cases_evicted"] == 0
    assert vault["cases_doubled"] == 0
    assert spool["cases_received"] <= vault["cases_stored"] <= spool["cases_spooled"]
    assert spool["cases_spooled"] == spool["cases_received"] + spool["cases_waiting"]
    first = {}
    last = {}
    for line in pair.events_file.read_bytes().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        (first if event["source"] == "edge" else last)[event["sequence"]] = event
    answered = [number for number, event in last.items() if event["source"] == "region"]
    assert answered
    assert all(first[number]["state"] == "provisional" for number in answered)
    assert sum(last[number]["index"] != first[number]["index"] for number in answered) > len(answered) // 2
