"""Act 4: a bad release, signed by the approver's key as a human mistake would be, is stopped at the canary and taken back by itself.

The release is the running student with the order of some classes mixed up by its export (see mistake): it loads, passes its self-test,
defers as much as before, and is wrong. Nobody touches anything once it is signed: what stops it is the devices' agreement with the
expert on audit samples.
"""

from __future__ import annotations

import time
from pathlib import Path

from provisioning.testbed import mistake, offline, released
from provisioning.testbed.figures import BadReleaseFigures
from provisioning.testbed.footage import Footage
from provisioning.testbed.intervals import Estimate, difference
from provisioning.testbed.learned import ModelFiles
from provisioning.testbed.processes import run_command
from provisioning.testbed.rollouts import TAKEN_BACK, newest_rollout
from provisioning.testbed.stage import Stage

NUMBER, TITLE = 4, "A bad release"
CLAIM = "A release that passes its self-test and is worse live is signed by the approver: the canary stops it, the devices take it back."
KNOWN_S, REACHED_S, JUDGED_S, OFF_S, HALT_S = 120.0, 90.0, 180.0, 90.0, 60.0
SAMPLES = 40
"""Audit samples of the running release that each device should have; the whole story has them by then."""


def play(stage: Stage, footage: Footage) -> BadReleaseFigures:
    """Sign the mistake, watch it reach the canary and be taken back; then measure how bad it was."""
    good = max(stage.committed(device) for device in stage.devices)
    stage.until(lambda: _is_known(stage, good), KNOWN_S, f"{SAMPLES} audit samples of release {good} at every device")
    bad, files = _sign(stage, footage, good)
    stage.until(lambda: _exposed(stage, bad), REACHED_S, f"a device to run release {bad}")
    reached = stage.elapsed()
    stage.screen.say(f"running it: {', '.join(sorted(_exposed(stage, bad)))}")
    stage.mark("the canary runs it")
    stage.until(lambda: _is_judged(stage, bad), JUDGED_S, f"release {bad} to be judged")
    judged = stage.elapsed()
    stage.mark("its gate fails")
    stage.until(lambda: not _running(stage, bad), OFF_S, f"release {bad} to be off every device")
    off = stage.elapsed()
    stage.mark("off every device")
    stage.until(lambda: newest_rollout(stage).get("state") in TAKEN_BACK, HALT_S, "the cloud to halt the rollout")
    cloud, pictures = footage.root / "cloud", tuple(str(path) for path in footage.held_out)
    return BadReleaseFigures(
        exposed=len(_exposed(stage, bad)),
        devices=len(stage.devices),
        running_s=off - reached,
        taken_back_s=off - judged,
        worse=stage.beside(_worse, released.student(cloud, good), files, pictures, what="the comparison of the two releases"),
        reason=str(newest_rollout(stage).get("reason", "")),
    )


def _sign(stage: Stage, footage: Footage, good: int) -> tuple[int, ModelFiles]:
    """Make the mistaken release, sign and publish it with the approver's key; return its number and files."""
    cloud, config = footage.root / "cloud", str(stage.fleet.config("cloud"))
    running = released.student(cloud, good)
    labels = [label for path in footage.held_out for label in offline.truth(path).labels]
    order = mistake.mixed_order(labels, offline.classes(Path(running.card)))
    bad = released.newest(cloud) + 1
    made = mistake.export(Path(running.model), Path(running.card), order, footage.root / "mistake", release=bad, now=time.time())
    stage.screen.say(f"release {bad}: the same network, its export mixed up {sum(a != b for a, b in enumerate(order))} classes")
    files = ["--onnx", str(made[0]), "--card", str(made[1])]
    run_command(["cloud", "release", "add", "--model", "student", *files, "--role", "manual", "--config", config])
    if newest_rollout(stage).get("release") != bad:
        run_command(["cloud", "rollout", "start", str(bad), "--config", config])
    stage.screen.say("signed by the approver under models/student/manual; from here on nobody touches anything")
    stage.mark("signed")
    return bad, ModelFiles(model=str(made[0]), card=str(made[1]))


def _is_known(stage: Stage, release: int) -> bool:
    """Whether every device has enough audit samples of a release for another to be compared with it."""
    found = {name: seen for region in stage.fleet.regions for name, seen in stage.fleet.status(region).get("devices", {}).items()}
    audits = {name: sum(one["audited"] for one in seen.get("audits", ()) if one["release"] == release) for name, seen in found.items()}
    return all(audits.get(name, 0) >= SAMPLES for name in stage.devices)


def _exposed(stage: Stage, release: int) -> set[str]:
    """Return the devices that were ever seen to run a release."""
    return {name for moment in stage.moments for name, device in moment.devices.items() if device.release == release}


def _running(stage: Stage, release: int) -> list[str]:
    return [name for name in stage.devices if stage.device(name).release == release]


def _is_judged(stage: Stage, release: int) -> bool:
    """Whether the cloud has halted the release, or a device has taken it back by itself."""
    return newest_rollout(stage).get("state") in TAKEN_BACK or len(_running(stage, release)) < len(_exposed(stage, release))


def _worse(good: ModelFiles, bad: ModelFiles, paths: tuple[str, ...]) -> Estimate:
    """Return how many more of the pictures the good release answers rightly."""
    units = [f"{path} {unit}" for path in paths for unit in offline.truth(Path(path)).units]
    lanes = [[one for path in paths for one in offline.right(Path(files.model), Path(files.card), Path(path))] for files in (good, bad)]
    return difference(lanes[0], lanes[1], units)
