"""Kill -9 real daemons at random moments and watch the system go on: nothing lost, nothing applied twice.

One small fleet (a cloud, a region with its mosquitto, one device) lives through all four kills in turn.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from provisioning.testbed import data as data_sets
from provisioning.testbed import plan as plans
from provisioning.testbed import seed
from provisioning.testbed.fleet import Fleet
from provisioning.testbed.processes import Process
from tests import waiting

DEVICE, REGION = "edge-1.region-1", "region-1"
until = functools.partial(waiting.until, within_s=90, every_s=0.1)  # a status socket is asked


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    root = Path(tempfile.mkdtemp(prefix="terrace-probe-"))
    plan = msgspec.structs.replace(plans.SHORT, edges=1, frames_per_stream=200, audit_share=0.2)
    streams = data_sets.prepare("line", plan)
    models = seed.complete(data_sets.models_for("line", lambda _: None), "line", root / "models")
    made = Fleet(root, plan, models, streams.tables)
    made.prepare()
    made.initialise_cloud()
    for process in made.processes:
        process.start()
    yield made
    for process in reversed(made.processes):
        process.stop()
    shutil.rmtree(root, ignore_errors=True)


def answers(fleet: Fleet) -> int:
    return int(fleet.status(REGION).get("cases_answered", 0))


def wait_for_more_answers(fleet: Fleet, count: int, what: str) -> None:
    until(lambda: answers(fleet), f"the region {what}")
    target = answers(fleet) + count
    until(lambda: answers(fleet) >= target, f"{count} more answers {what}")


def mosquitto_of(region: Process) -> int:
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == region.pid and b"mosquitto" in (path / "cmdline").read_bytes():
                    return int(path.name)
            except (OSError, ValueError):
                continue
    return 0


def test_the_fleet_comes_up(fleet: Fleet) -> None:
    wait_for_more_answers(fleet, 1, "at the start")


def test_edge_killed(fleet: Fleet) -> None:
    wait_for_more_answers(fleet, random.randint(1, 6), "before the kill")
    fleet.edges[DEVICE].kill()
    fleet.edges[DEVICE].start()
    wait_for_more_answers(fleet, 3, "after the edge was killed")


def test_broker_killed(fleet: Fleet) -> None:
    wait_for_more_answers(fleet, random.randint(1, 6), "before the kill")
    broker = mosquitto_of(fleet.regions[REGION])
    os.kill(broker, signal.SIGKILL)
    until(lambda: mosquitto_of(fleet.regions[REGION]) not in (0, broker), "a new mosquitto")
    wait_for_more_answers(fleet, 3, "after the broker was killed")


def test_region_killed(fleet: Fleet) -> None:
    wait_for_more_answers(fleet, random.randint(1, 6), "before the kill")
    fleet.regions[REGION].kill()
    fleet.regions[REGION].start()
    wait_for_more_answers(fleet, 3, "after the region was killed")


def test_cloud_killed_in_a_round(fleet: Fleet) -> None:
    until(lambda: answers(fleet) >= 2 * fleet.plan.minimum_cases, "enough cases")
    number = fleet.start_round()

    def step() -> str:
        rounds = fleet.status("cloud").get("rounds", [])
        return next((f"{entry.get('state')} {entry.get('step')}" for entry in rounds if entry.get("number") == number), "")

    first = step()
    until(lambda: step() not in ("", first) or random.random() < 0.02, "the round to move")
    fleet.cloud.kill()
    fleet.cloud.start()
    until(lambda: step().split(" ")[0] in ("published", "done"), "the round to be published after the cloud was killed", within_s=150)
    until(lambda: int(fleet.status(DEVICE).get("update", {}).get("release", 0)) == 2, "the device to run release 2")


@pytest.mark.slow
@pytest.mark.parametrize("kill", range(24))
def test_killed_again_at_random(fleet: Fleet, kill: int) -> None:
    """The long run: daemons and the broker die at any moment, also while they still recover from the kill before."""
    victim = random.choice(("edge", "region", "broker", "cloud"))
    time.sleep(random.uniform(0.0, 2.0))  # the moment is what is tried here
    if victim == "broker":
        if broker := mosquitto_of(fleet.regions[REGION]):
            os.kill(broker, signal.SIGKILL)
    else:
        process = {"edge": fleet.edges[DEVICE], "region": fleet.regions[REGION], "cloud": fleet.cloud}[victim]
        process.kill()
        process.start()
    if kill % 4 == 3:
        wait_for_more_answers(fleet, 3, f"after kill {kill}, of the {victim}")


def test_nothing_is_lost_and_nothing_applied_twice(fleet: Fleet) -> None:
    for process in reversed(fleet.processes):
        process.stop()
    spool, vault = fleet.recount_spool(DEVICE), fleet.recount_vault(REGION)
    gone = int(spool["cases_spooled"]) - int(spool["cases_waiting"]) - int(spool["cases_evicted"])
    assert gone > 0
    assert int(vault["cases_stored"]) >= gone
    assert int(vault["cases_doubled"]) == 0
    releases = list((fleet.root / "cloud" / "repository" / "targets" / "models" / "student" / "auto").glob("*.onnx"))
    assert len(releases) == 1
