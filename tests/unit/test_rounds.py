"""Rounds as rows: a worker killed with -9 goes on where it was, with the same bits; a missed quorum fails loudly."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from flwr.app import Message, MetricRecord, RecordDict

from cloud import fleet as fleets
from cloud import mailbox as boxes
from cloud import registry as registries
from cloud.blobs import Blobs
from cloud.database import Database
from cloud.federation import flower, participants
from cloud.federation.rounds import STEPS, Results, Rounds
from cloud.fleet import Fleet
from cloud.mailbox import Mailbox
from cloud.records import Region, Round
from cloud.registry import Registry
from shared.errors import FederationError
from shared.wire import bundle
from shared.wire.reports import DriftState, FleetReport, TrainReply, TrainTask
from tests import waiting

until = functools.partial(waiting.until, within_s=40)  # a worker starts its interpreter and Flower
WORKER = """
import sys, time, threading
from pathlib import Path
import torch
from cloud import fleet, mailbox, registry
from cloud.blobs import Blobs
from cloud.config import RoundsSection
from cloud.database import Database
from cloud.federation.rounds import STEPS, Rounds
from cloud.federation.training import Start, Training

root = Path(sys.argv[1])
database = Database(root / "registry.db", [registry.SCHEMA, fleet.SCHEMA, mailbox.SCHEMA])
blobs = Blobs(root / "blobs")
database.start()
blobs.start()
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Flatten(), torch.nn.Linear(8, 3))
arrays = {name: value.numpy().copy() for name, value in model.state_dict().items()}
training = Training(
    registry=registry.Registry(database), fleet=fleet.Fleet(database), mailbox=mailbox.Mailbox(database, blobs),
    rules=RoundsSection(minimum_regions=2, minimum_cases=10, minimum_steps=5, deadline_s=float(sys.argv[2])),
    start=lambda release: Start(release=release, arrays=arrays, classes=3, side=3), judge=None, folder=root / "rounds",
    pause=lambda seconds: not threading.Event().wait(min(seconds, 0.02)),
)
steps = {name: lambda current, results: {} for name in STEPS}
steps["train"] = lambda current, results: training.train(current, results, base=1)
steps["aggregate"] = training.aggregate
rows = registry.Registry(database)
Rounds(rows, steps, close=lambda current: None, clock=time.time).run(rows.open_round())
"""


class Cloud:
    """The cloud's files, opened as the API process does, and the worker as a process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.database = Database(root / "registry.db", [registries.SCHEMA, fleets.SCHEMA, boxes.SCHEMA])
        self.blobs = Blobs(root / "blobs")
        self.registry, self.fleet = Registry(self.database), Fleet(self.database)
        self.mailbox = Mailbox(self.database, self.blobs)
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self.database.start()
        self.blobs.start()
        for name in ("region-1", "region-2"):
            report = FleetReport(at=time.time(), cases_stored=50, cases_answered=50, cases_train=40, cases_evaluation=10)
            self.fleet.report(name, report, now=time.time())
        self.registry.request_round("test", now=1000.0)

    def work(self, deadline_s: float = 60.0) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        worker = subprocess.Popen([sys.executable, "-c", WORKER, str(self.root), str(deadline_s)], env=environment)
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()
        self.database.stop()

    def task_of(self, region: str) -> TrainTask | None:
        tasks = self.mailbox.waiting(region, now=time.time())
        return tasks[0] if tasks and isinstance(tasks[0], TrainTask) else None

    def reply(self, region: str, by: float, examples: int) -> None:
        until(lambda: self.task_of(region) is not None, f"a task for {region}")
        task = self.task_of(region)
        assert task is not None
        asked = flower.decode(self.blobs.read(task.blob), limit_bytes=1 << 20)
        given = {name: value.numpy() for name, value in asked.content.array_records["arrays"].items()}
        changed = {name: value + np.float32(by) if value.dtype == np.float32 else value for name, value in given.items()}
        content = RecordDict({"arrays": flower.record_of(changed), "metrics": MetricRecord({"num-examples": examples, "steps": 9})})
        data = flower.encode(Message(content, reply_to=asked))
        name = bundle.sha256(data)
        self.blobs.append(region, name, start=0, total=len(data), data=data)
        assert self.mailbox.answer(region, TrainReply(task=task.task, blob=name, size=len(data)), now=time.time())

    def result(self, step: str) -> dict[str, object]:
        return next((item.result for item in self.registry.steps(1) if item.name == step and item.state == "done"), {})


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[str], Cloud]]:
    made: list[Cloud] = []

    def build(name: str) -> Cloud:
        (tmp_path / name).mkdir()
        cloud = Cloud(tmp_path / name)
        cloud.start()
        made.append(cloud)
        return cloud

    yield build
    for cloud in made:
        cloud.close()


def undisturbed(cloud: Cloud) -> dict[str, object]:
    worker = cloud.work()
    cloud.reply("region-1", 0.1, 100)
    cloud.reply("region-2", 0.7, 33)
    assert worker.wait(40) == 0
    return cloud.result("aggregate")


def test_a_worker_killed_at_any_point_ends_the_same_round_with_the_same_bits(make: Callable[[str], Cloud]) -> None:
    wanted = undisturbed(make("calm"))
    cloud = make("killed")
    first = cloud.work()
    until(lambda: cloud.task_of("region-2") is not None, "the tasks")
    kill(first)
    cloud.reply("region-2", 0.7, 33)
    second = cloud.work()
    until(lambda: cloud.registry.steps(1) != [], "the second worker")
    kill(second)
    cloud.reply("region-1", 0.1, 100)
    third = cloud.work()
    assert third.wait(40) == 0
    assert cloud.registry.round(1).state == "done"
    assert cloud.result("aggregate")["sha256"] == wanted["sha256"]
    assert cloud.result("aggregate")["contributions"] == wanted["contributions"]
    assert len(cloud.database.rows("SELECT * FROM tasks")) == 2
    assert [step.name for step in cloud.registry.steps(1)] == list(STEPS)


def kill(worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGKILL)
    worker.wait()


def test_a_missed_quorum_fails_the_round_and_names_the_region(make: Callable[[str], Cloud]) -> None:
    cloud = make("quorum")
    worker = cloud.work(deadline_s=3.0)
    cloud.reply("region-1", 0.1, 100)
    assert worker.wait(40) == 0
    ended = cloud.registry.round(1)
    assert ended.state == "failed"
    assert "1 updates, its quorum is 2" in ended.reason
    assert "region-2: no answer" in ended.reason


def rows(tmp_path: Path) -> tuple[Database, Registry]:
    database = Database(tmp_path / "r.db", [registries.SCHEMA])
    database.start()
    return database, Registry(database)


def test_a_step_that_is_done_is_never_run_again_and_a_refusal_publishes_nothing(tmp_path: Path) -> None:
    database, registry = rows(tmp_path)
    ran: list[str] = []

    def step(name: str) -> Callable[[Round, Results], dict[str, object]]:
        def act(current: Round, results: Results) -> dict[str, object]:
            ran.append(name)
            if ran.count("distil") == 1 and name == "distil":
                raise InterruptedError
            return {"refused": "the gates refused: accuracy"} if name == "gate" else {"seen": sorted(results)}

        return act

    closed: list[int] = []
    runner = Rounds(registry, {name: step(name) for name in STEPS}, close=lambda current: closed.append(current.number), clock=time.time)
    current = registry.request_round("test", now=1.0)
    with pytest.raises(InterruptedError):
        runner.run(current)
    assert (registry.round(1).state, closed) == ("running", [])
    ended = runner.run(current)
    assert (ended.state, ended.reason, closed) == ("refused", "the gates refused: accuracy", [1])
    assert ran == ["train", "aggregate", "distil", "distil", "quantise", "evaluate", "gate"]
    assert json.dumps(registry.steps(1)[2].result) == '{"seen": ["aggregate", "train"]}'
    database.stop()


@pytest.mark.parametrize("refused", ["", "the gates refused: accuracy"])
def test_a_trial_goes_through_the_gate_and_publishes_nothing(tmp_path: Path, refused: str) -> None:
    database, registry = rows(tmp_path)
    ran: list[str] = []

    def step(name: str) -> Callable[[Round, Results], dict[str, object]]:
        def act(current: Round, results: Results) -> dict[str, object]:
            ran.append(name)
            return {"refused": refused} if name == "gate" else {}

        return act

    runner = Rounds(registry, {name: step(name) for name in STEPS}, close=lambda current: None, clock=time.time)
    ended = runner.run(registry.request_round("test", now=1.0, regions=["b", "a", "b"], publish=False))
    assert (ended.state, ended.reason, ended.regions, ended.publish) == ("trial", refused, ("a", "b"), False)
    assert ran[-1] == "gate"
    database.stop()


def test_a_defect_in_a_step_fails_the_round_instead_of_running_for_ever(tmp_path: Path) -> None:
    database, registry = rows(tmp_path)

    def broken(current: Round, results: Results) -> dict[str, object]:
        raise ZeroDivisionError("by design of this test")

    runner = Rounds(registry, dict.fromkeys(STEPS, broken), close=lambda current: None, clock=time.time)
    ended = runner.run(registry.request_round("test", now=1.0))
    assert ended.state == "failed"
    assert "ZeroDivisionError" in ended.reason
    with pytest.raises(FederationError):
        registry.round(7)
    database.stop()


def region(name: str, node: int, cases: int, seen_at: float = 100.0, learned: int = 0) -> Region:
    report = FleetReport(at=seen_at, cases_stored=cases, cases_answered=cases, cases_train=cases, cases_evaluation=0)
    return Region(name=name, node=node, seen_at=seen_at, report=report, cases_learned=learned)


def test_who_takes_part() -> None:
    regions = [region("a", 2, 100), region("b", 1, 80), region("c", 3, 5), region("d", 4, 500, seen_at=0.0)]
    rules = participants.Rules(minimum_regions=2, minimum_cases=64)
    assert participants.choose(regions, rules, waited_s=0.0, now=100.0) is None  # c may still come
    found = participants.choose(regions, rules, waited_s=11.0, now=100.0)
    assert found is not None
    assert ([item.name for item in found.regions], found.quorum) == (["b", "a"], 2)
    more = participants.Rules(minimum_regions=3, minimum_cases=64)
    assert participants.choose(regions, more, waited_s=99.0, now=100.0) is None
    assert "d: 500 cases, away for 100 s" in participants.shortage(regions, rules, now=100.0)


def alarmed(name: str, node: int, since_cases: int, *, cases: int = 500) -> Region:
    calm = region(name, node, cases)
    assert calm.report is not None
    drift = DriftState(alarm=True, since=50.0, cases_since=since_cases)
    return msgspec.structs.replace(calm, report=msgspec.structs.replace(calm.report, drift=drift))


def names(choice: participants.Choice | None) -> list[str]:
    return [] if choice is None else [item.name for item in choice.regions]


def test_only_regions_in_need_are_asked_while_one_is() -> None:
    regions = [region("a", 1, 300), alarmed("b", 2, 70), region("c", 3, 300)]
    by_need = participants.Rules(minimum_regions=2, minimum_cases=64, by_need=True)
    found = participants.choose(regions, by_need, waited_s=0.0, now=100.0)
    assert found is not None
    assert (names(found), found.quorum) == (["b"], 1)
    assert "drift alarm: b" in found.reason
    never = msgspec.structs.replace(by_need, by_need=False)
    assert names(participants.choose(regions, never, waited_s=0.0, now=100.0)) == ["a", "b", "c"]
    few = [region("a", 1, 300), alarmed("b", 2, 10), region("c", 3, 300)]
    assert participants.choose(few, by_need, waited_s=99.0, now=100.0) is None
    assert "b: 10 cases since its alarm" in participants.shortage(few, by_need, now=100.0)
    calm = [region("a", 1, 300), region("c", 3, 300)]
    assert names(participants.choose(calm, by_need, waited_s=0.0, now=100.0)) == ["a", "c"]
    only = msgspec.structs.replace(by_need, only_need=True)
    assert participants.choose(calm, only, waited_s=99.0, now=100.0) is None
    assert "none" in participants.shortage(calm, only, now=100.0)


def test_named_regions_are_asked_whoever_is_in_need() -> None:
    regions = [region("a", 1, 300), alarmed("b", 2, 70)]
    rules = participants.Rules(minimum_regions=2, minimum_cases=64, named=("a",), by_need=True)
    found = participants.choose(regions, rules, waited_s=0.0, now=100.0)
    assert found is not None
    assert (names(found), found.quorum) == (["a"], 1)


def test_a_round_begins_for_an_alarm_and_the_next_one_waits_longer_each_time() -> None:
    def due(cases: int, *ended: float | None, now: float = 100.0) -> list[str]:
        before = [Round(number=1, state="done", reason="", requested_by="", created_at=60.0, finished_at=at) for at in ended]
        regions = [region("a", 1, 300), msgspec.structs.replace(alarmed("b", 2, cases), seen_at=now)]
        return participants.in_need(regions, needed_cases=64, pause_s=30.0, taught=lambda name, since: before, now=now)

    assert (due(63), due(64)) == ([], ["b"])
    assert (due(500, 80.0), due(500, 70.0)) == ([], ["b"])
    assert (due(500, 70.0, 65.0), due(500, 70.0, 65.0, now=130.0)) == ([], ["b"])
    assert due(500, None) == []  # it still runs


def test_a_round_begins_by_need_only() -> None:
    regions = [region("a", 1, 100, learned=90), region("b", 2, 100, learned=70)]
    rules = {"minimum_regions": 2, "minimum_cases": 64, "now": 100.0}
    assert participants.is_due(regions, new_cases=40, **rules)
    assert not participants.is_due(regions, new_cases=41, **rules)
    assert not participants.is_due(regions, new_cases=0, **rules)
