"""Live risk from end to end with real processes: measured on a device, told by its region, shown by the cloud; and a kill -9.

One small fleet (a cloud, a region with its mosquitto, one device) lives through all of it.
"""

from __future__ import annotations

import functools
import json
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from provisioning.testbed import data as data_sets
from provisioning.testbed import plan as plans
from provisioning.testbed import seed
from provisioning.testbed.fleet import Fleet
from provisioning.testbed.processes import run_command
from tests import browser, waiting
from tests.dashboards import PASSWORD

pytestmark = pytest.mark.slow
DEVICE, REGION = "edge-1.region-1", "region-1"
until = functools.partial(waiting.until, within_s=240, every_s=0.5)  # four daemons start on what the machine has left


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    root = Path(tempfile.mkdtemp(prefix="terrace-live-"))
    plan = msgspec.structs.replace(plans.SHORT, edges=1, streams=1, frames_per_stream=200, audit_share=0.3)
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


def cloud(fleet: Fleet) -> dict[str, Any]:
    """The dashboard's JSON, as a program with a viewer's token gets it."""
    config = str(fleet.config("cloud"))
    token = json.loads(run_command(["cloud", "token", "create", "--config", config, "--json"]))["token"]
    context = ssl.create_default_context(cafile=fleet.root / "cloud" / "people.pem")
    headers = {"authorization": f"Bearer {token}"}
    answer = httpx.get(f"https://localhost:{fleet.ports.people}/v1/overview", headers=headers, verify=context, timeout=20)
    return dict(answer.raise_for_status().json())


def live(fleet: Fleet) -> dict[str, Any]:
    return dict(fleet.status(DEVICE).get("live") or {"audited": 0, "missing": 0})


def test_what_a_device_measures_appears_in_the_cloud(fleet: Fleet) -> None:
    until(lambda: live(fleet)["audited"] >= 10, "ten answered audit samples")
    least = live(fleet)
    words = run_command(["edge", "status", "--config", str(fleet.config(DEVICE))])
    assert all(f"\n{label}" in words for label in ("risk ", "rule ", "audit ", "drift ", "budget "))
    until(lambda: (fleet.status(REGION).get("live") or {"audited": 0})["audited"] >= least["audited"], "its region to tell it")
    assert fleet.status(REGION)["live"]["worst"] == DEVICE

    def told() -> dict[str, Any]:
        return dict((cloud(fleet)["regions"].get(REGION) or {}).get("live") or {"audited": 0})

    until(lambda: told()["audited"] >= least["audited"], "the cloud to know", every_s=1.0)
    shown = cloud(fleet)
    region, device, whole = shown["regions"][REGION]["live"], shown["devices"][f"{REGION}/{DEVICE}"]["live"], shown["fleet"][""]["live"]
    for one in (region, device, whole):
        assert one["audited"] >= 10
        assert one["low"] <= one["risk"] <= one["high"]
        assert one["censored_share"] is not None
    assert (region["devices"], region["untold"], region["audit_share_low"]) == (1, 0, 0.3)
    assert device["threshold"] == pytest.approx(fleet.status(DEVICE)["live"]["threshold"])
    assert device["drift"] in {"learning", "steady", "alarm"}


@pytest.mark.skipif(browser.program() is None, reason=browser.MISSING)
def test_and_on_its_page(fleet: Fleet, tmp_path: Path) -> None:
    config = str(fleet.config("cloud"))
    link = next(
        word for word in run_command(["cloud", "account", "invite", "--role", "viewer", "--config", config]).split() if "#code=" in word
    )
    with browser.browser(tmp_path / "profile") as page:
        page.open(link)
        page.type("input[name=username]", "vera")
        page.type("input[name=password]", PASSWORD)
        page.type("input[name=again]", PASSWORD)
        page.click("Make my account")
        until(lambda: page.sees("Overview"), "the overview")
        tables = "[...document.querySelectorAll('table')]"
        row = f"{tables}.find((one) => one.caption?.innerText === 'Live risk by region')?.tBodies[0].innerText ?? ''"
        until(lambda: REGION in page.run(row) and "%" in page.run(row), "the region's live risk")
        assert page.complaints == []


def test_a_device_killed_goes_on_from_its_live_state_and_looks_no_better(fleet: Fleet) -> None:
    state = fleet.root / DEVICE / "live.state"
    until(state.exists, "the state on disk")
    before = live(fleet)
    fleet.edges[DEVICE].kill()
    fleet.edges[DEVICE].start()
    until(lambda: fleet.status(DEVICE).get("live_state"), "the device to be back")
    until(lambda: live(fleet)["audited"] + live(fleet)["missing"] >= before["audited"] // 2, "the samples of before")
    after = fleet.status(DEVICE)
    assert after["live_state"] == {"begun_anew": "", "failing": ""}
    assert after["live"]["audited"] + after["live"]["missing"] + after["live"]["pending"] >= before["audited"]
