"""Act 2: nothing is lost when the link is cut, the broker is killed with -9, or a device is.

In order: the first region's wire is cut; its devices go on answering and their spools climb; its broker is killed meanwhile; the wire is
mended and the spools drain; then a device is killed under traffic and started again. The count is made from the files, case by case.
"""

from __future__ import annotations

import os
import signal
import time

from provisioning.testbed import timeline
from provisioning.testbed.figures import NeverLostFigures
from provisioning.testbed.footage import Footage
from provisioning.testbed.recount import count_cases
from provisioning.testbed.stage import Stage

NUMBER, TITLE = 2, "Never lost"
CLAIM = "The link is cut, the broker and a device are killed with -9: local answers go on, the spool climbs and drains, no case is lost."
CUT_SHARE, AGAIN_S = 0.4, 150.0
"""Of the steady time: how long the link stays cut; and the seconds a killed device has to be back, with its model and data loaded."""


def play(stage: Stage, _: Footage | None) -> NeverLostFigures:
    """Cut, kill, mend, drain, kill again, count."""
    region = stage.fleet.plan.region_names[0]
    devices = stage.fleet.plan.edge_names(region)
    before = timeline.spool(stage.moments, devices)[-1][1]
    answered, cut_s = _cut(stage, region, devices)
    peak, drained_s = _mend(stage, region, devices)
    _kill_device(stage, devices[0])
    verdict, vault = count_cases(stage.fleet, region)
    return NeverLostFigures(
        answered_in_cut=answered,
        cut_s=cut_s,
        spool_before=before,
        spool_peak=peak,
        drained_s=drained_s,
        kills=stage.kills,
        spooled=verdict.spooled,
        lost=verdict.lost,
        doubled=int(vault["cases_doubled"]),
    )


def _cut(stage: Stage, region: str, devices: list[str]) -> tuple[int, float]:
    """Cut the wire and kill the broker behind it; return the frames answered meanwhile, and for how long."""
    stage.screen.say(f"cutting every connection between {region} and its devices")
    began, before = time.monotonic(), _inferred(stage, devices)
    stage.fleet.wires[region].send(signal.SIGUSR1)
    stage.mark("link cut")
    stage.until(lambda: not any(stage.device(device).connected for device in devices), 30, "the devices to notice the cut")
    stage.pause(stage.fleet.plan.steady_s * CUT_SHARE / 2)
    kill_broker(stage, region)
    stage.pause(stage.fleet.plan.steady_s * CUT_SHARE / 2)
    return _inferred(stage, devices) - before, time.monotonic() - began


def _mend(stage: Stage, region: str, devices: list[str]) -> tuple[int, float]:
    """Mend the wire and wait until the spools have drained; return their highest level and the seconds it took."""
    peak = _waiting(stage, devices)
    stage.screen.say(f"{peak} cases wait on the devices; mending the link")
    began = time.monotonic()
    stage.fleet.wires[region].send(signal.SIGUSR2)
    stage.mark("link mended")
    stage.until(lambda: all(stage.device(device).connected for device in devices), 60, "the devices to connect again")
    stage.until(lambda: _waiting(stage, devices) <= len(devices), 60, "the spools to drain")
    return peak, time.monotonic() - began


def kill_broker(stage: Stage, region: str) -> None:
    """Kill a region's mosquitto as a power cut would, and wait until the region has started it again."""
    owner = stage.fleet.regions[region]
    stage.until(lambda: owner.child("mosquitto"), 30, f"{region} to run a broker")
    broker = owner.child("mosquitto")
    stage.screen.say(f"kill -9 {broker}: the broker of {region}")
    os.kill(broker, signal.SIGKILL)
    stage.mark("broker killed")
    stage.kills += 1
    stage.until(lambda: owner.child("mosquitto") not in (0, broker), 30, f"{region} to start its broker again")


def _kill_device(stage: Stage, device: str) -> None:
    process = stage.fleet.edges[device]
    stage.screen.say(f"kill -9 {process.pid}: {device}, in the middle of its frames")
    process.kill()
    stage.mark("device killed")
    stage.kills += 1
    process.start()
    stage.until(lambda: stage.answers(device), AGAIN_S, f"{device} to be answered again")


def _waiting(stage: Stage, devices: list[str]) -> int:
    return sum(stage.device(device).spool for device in devices)


def _inferred(stage: Stage, devices: list[str]) -> int:
    return sum(stage.device(device).inferred for device in devices)
