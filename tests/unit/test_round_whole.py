"""One whole round with real processes: cloud daemon, worker, signer and a region's federation worker; then kill -9 in the middle."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import torch

from cloud.foundry import export, measure, quantise
from cloud.foundry.pictures import Pictures, input_spec
from cloud.foundry.selftest import self_test
from cloud.publish import Repository
from provisioning.pki import create_fleet
from region.cases import Incoming
from region.labelling import Labels, Wanted
from region.vault import Vault
from shared.errors import LinkError
from shared.learning import architectures, arrays, loop
from shared.learning.samples import Augmentation, Samples
from shared.release.card import Calibration, Card, Lineage, encode_card, sha256
from shared.release.desired import Desired
from shared.status import read_status
from shared.vision.picture import encode as encode_picture
from shared.vision.tasks.logits import softmax
from shared.wire.messages import Case, Prediction, encode
from tests.waiting import until

NAMES, SIDE = ("plain", "dark", "bright"), 32
HOSTS = ["localhost", "127.0.0.1"]


def pictures(count: int, seed: int) -> Pictures:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    frames = random.normal(110, 12, (count, SIDE, SIDE, 3))
    for index, label in enumerate(labels):
        top, left = random.integers(0, SIDE - 10, 2)
        frames[index, top : top + 8, left : left + 8] += (0, -60, 60)[label]
    units = tuple(f"u{seed}-{number // 2}" for number in range(count))
    return Pictures(frames=frames.clip(0, 255).astype(np.uint8), labels=labels, units=units, names=NAMES)


def save(path: Path, data: Pictures) -> None:
    np.savez(path, frames=data.frames, labels=data.labels, units=np.array(data.units), names=np.array(data.names))


def build(folder: Path, family: str, steps: int) -> torch.nn.Module:
    """Train, quantise and card a small model, as `terrace models build` does."""
    known = pictures(300, 1)
    model = architectures.build(family, len(NAMES), side=SIDE, seed=0)
    samples = Samples(frames=known.frames, labels=known.labels)
    loop.train(model, samples, loop.Recipe(steps=steps, batch=32, augmentation=Augmentation(shift_px=2)))
    fp32 = export.to_onnx(model, side=SIDE)
    onnx = quantise.quantise(fp32, known.frames[:64], input_spec(SIDE)) if family == "student" else fp32
    (folder / family).mkdir(parents=True)
    path = folder / family / "000001.onnx"
    path.write_bytes(onnx)
    logits = measure.logits(path, known.frames, input_spec(SIDE))
    card = Card(
        model=family, release=1, labels=NAMES, input=input_spec(SIDE), onnx_sha256=sha256(onnx),
        self_test=self_test(known.frames, known.labels, logits),
        lineage=Lineage(parent=0, round=0, recipe="test", data="fashion-mnist:0", code="", created_at=0.0),
        calibration=Calibration(score="margin", threshold=1.0, epsilon=0.02, delta=0.05, risk_bound=0.02, units=100, frames=100),
    )  # fmt: skip
    path.with_suffix(".card.json").write_bytes(encode_card(card))
    if family == "student":
        arrays.save(folder / family / "000001.npz", arrays.to_arrays(model))
    return model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("models")
    build(folder, "student", 40)
    expert = build(folder, "expert", 60)
    save(folder / "replay.npz", pictures(120, 1))
    return SimpleNamespace(folder=folder, expert=expert)


def fill_vault(path: Path, expert: torch.nn.Module) -> None:
    """Store cases of three devices as intake does, answered by the expert; every third is an audit sample."""
    data = pictures(150, 7)
    answers = softmax(loop.predict(expert, data.frames))
    vault = Vault(path)
    vault.start()
    items = []
    for number, frame in enumerate(data.frames):
        case = Case(
            stream="line", frame=number, unit=data.units[number], captured_at=1.0, reason="score", is_audit=number % 3 == 0, score=0.1,
            threshold=1.0, release=1, prediction=Prediction(index=0, probabilities=(1.0, 0.0, 0.0)), picture=encode_picture(frame),
        )  # fmt: skip
        device = f"edge-{number % 3}.region-1"
        items.append(Incoming(device=device, spool=b"s" * 16, sequence=number, payload=encode(case), case=case, received_at=time.time()))
    stored = vault.store(items)
    told = [Prediction(index=int(row.argmax()), probabilities=tuple(float(value) for value in row)) for row in answers]
    vault.store_answers([(item.id, answer) for item, answer in zip(stored, told, strict=True)], release=1, now=time.time())
    wanted = [
        Wanted(device=f"edge-{number % 3}.region-1", stream="line", frame=number, label=int(data.labels[number]), person=person)
        for number in range(0, 150, 3)
        for person in ("generator-1", "generator-2")
    ]
    assert Labels(vault.database).take(wanted, (), now=time.time()).frozen > 5
    vault.stop()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


class World:
    """A cloud and one region on disk and as processes."""

    def __init__(self, root: Path, models: SimpleNamespace) -> None:
        self.root, self.ports = root, free_ports(3)
        self.processes: list[subprocess.Popen[bytes]] = []
        authority = create_fleet(root / "pki", "demo")
        authority.issue_cloud("cloud", HOSTS, destination=root / "cloud-identity")
        authority.issue_region("region-1", "server", HOSTS, destination=root / "region-identity")
        self.cloud, self.region = root / "cloud.toml", root / "region.toml"
        self.cloud.write_text(f"""
fleet = "demo"
state = "cloud"
identity.folder = "cloud-identity"
regions.port = {self.ports[0]}
people.port = {self.ports[1]}
ops.port = {self.ports[2]}
repository.keys = "keys"
[rounds]
minimum_regions = 1
minimum_cases = 20
device_share = 0.5
deadline_s = 120.0
[foundry]
distil_steps = 10
minimum_held_out = 10
largest_drop = 0.2
""")
        self.region.write_text(f"""
name = "region-1"
fleet = "demo"
state = "region"
[identity]
folder = "region-identity"
workers = "none"
[cloud]
url = "https://127.0.0.1:{self.ports[0]}"
egress_record = "egress"
[training]
steps = 20
minimum_cases = 20
nice = 1
""")
        fill_vault(root / "region" / "vault.db", models.expert)
        replay = root / "region" / "models" / "replay" / "000001"
        replay.mkdir(parents=True)
        save(replay / "replay.npz", pictures(120, 1))
        (replay.parent / "current").write_bytes(msgspec.json.encode({"release": 1, "files": {}}))
        self.terrace("init", "--models", str(models.folder))

    def terrace(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", "from cloud.cli import app; app()", *command, "--config", str(self.cloud)],
            capture_output=True, text=True, timeout=60, env=environment(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start_cloud(self) -> subprocess.Popen[bytes]:
        return self._start("-c", "from cloud.cli import app; app()", "serve", "--config", str(self.cloud))

    def start_region(self) -> subprocess.Popen[bytes]:
        return self._start("-m", "region.federation", "--config", str(self.region))

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        log = (self.root / f"log-{len(self.processes)}").open("wb")
        process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log, env=environment())
        self.processes.append(process)
        return process

    def round(self) -> dict[str, object]:
        try:
            return dict(read_status(self.root / "cloud" / "status.sock")["rounds"][0])
        except (LinkError, IndexError):
            return {}  # not up yet, or no round yet

    def until(self, condition: Callable[[], bool], what: str) -> None:
        until(condition, lambda: f"{what}; {self.round()}\n{self.logs()}", within_s=90, every_s=0.1)

    def logs(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in sorted(self.root.glob("log-*")))

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def world(tmp_path: Path, models: SimpleNamespace) -> Iterator[World]:
    made = World(tmp_path, models)
    yield made
    made.close()


@pytest.mark.slow
def test_a_round_goes_from_cases_to_a_signed_release_also_through_kills(world: World) -> None:
    cloud = world.start_cloud()
    world.start_region()
    world.until(lambda: "region-1" in json.dumps(json.loads(world.terrace("fleet", "--json"))), "the region's report")
    assert json.loads(world.terrace("round", "start", "--json"))["number"] == 1
    world.until(lambda: world.round().get("step") in ("aggregate", "distil", "quantise", "evaluate"), "the round to move")
    cloud.send_signal(signal.SIGKILL)
    cloud.wait()
    world.start_cloud()
    world.until(lambda: world.round().get("state") in ("done", "failed", "refused"), "the round's end")
    assert world.round()["state"] == "done", f"{world.round()}\n{world.logs()}"
    repository = Repository(world.root / "cloud" / "repository", world.root / "keys")
    assert repository.releases("student") == {1: "manual", 2: "auto"}
    desired = repository.desired("demo")
    assert isinstance(desired, Desired)
    assert (desired.version, desired.models["student"].release, desired.models["student"].deltas) == (2, 2, (1,))
    shown = json.loads(world.terrace("round", "show", "1", "--json"))
    steps = {step["name"]: step["result"] for step in shown["steps"]}
    assert steps["aggregate"]["contributions"][0]["region"] == "region-1"
    assert steps["evaluate"]["cases"]["region-1"] > 0
    assert "held-out cases of 1 regions" in steps["gate"]["notes"][0]
    assert "human_cases_accuracy" in {check["name"] for check in steps["gate"]["checks"]}
    assert "labelled by a generator in the place of people" in steps["gate"]["notes"][1]
    assert not list((world.root / "cloud" / "rounds").rglob("*.npz"))
    assert [path.name for path in (world.root / "cloud" / "blobs").iterdir() if path.is_file()] == ["blobs.key"]
    assert list((world.root / "egress").iterdir())
    asked = json.loads(world.terrace("round", "start", "--region", "region-1", "--trial", "--json"))
    assert (asked["number"], asked["regions"], asked["publish"]) == (2, ["region-1"], False)
    world.until(lambda: world.round().get("number") == 2 and world.round().get("finished_at") is not None, "the trial's end")
    assert world.round()["state"] == "trial", f"{world.round()}\n{world.logs()}"
    kept = {path.name for path in (world.root / "cloud" / "rounds" / "000002").iterdir()}
    assert {"candidate.onnx", "candidate.card.json"} <= kept
    assert repository.releases("student") == {1: "manual", 2: "auto"}
