"""The live risk in a real browser, on the cloud's page and on a region's: what is told, what is not, what is old, and on a phone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cloud.people import Desk
from region import liverisk
from region.config import IdentitySettings, PeopleSettings, RegionSettings
from region.peopleparts import people_parts
from region.vault import Vault
from shared.accounts import AccountStore
from shared.roles import Role
from shared.wire.messages import LiveWord, Telemetry
from shared.wire.reports import DeviceLive, DeviceSummary, FleetReport, RegionLive
from tests import browser
from tests.brokers import free_port
from tests.browser import Page
from tests.dashboards import PASSWORD, dashboard, enter
from tests.unit.rollout_parts import World
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(browser.program() is None, reason=browser.MISSING)]
FINE = LiveWord(
    risk=0.01, low=0, high=1, audited=500, is_censored=False, missing=2, pending=1, threshold=1.25, epsilon=0.02, drift="steady"
)
FRESH = LiveWord(risk=0.0, low=0, high=1, audited=0, is_censored=False, missing=0, threshold=1.25, drift="learning")
BAD = LiveWord(
    risk=0.12, low=0, high=1, audited=200, is_censored=True, missing=40, threshold=7.5, epsilon=0.02, debt=0.03, drift="alarm",
    budget_use=0.4, held_back=1234, budget_bytes_per_s=2000.0,
)  # fmt: skip


def told(word: LiveWord | None, at: float) -> DeviceLive | None:
    said = Telemetry(
        at=at, floor=0, release=1, update_state="", streams=(), spool_cases=0, spool_bytes=0, audit_share=0.05 if word else -1.0, live=word
    )
    return liverisk.of_device(said, told_at=at)


def lives(region: str, at: float) -> dict[str, DeviceLive | None]:
    words = {"edge-1": FINE, "edge-2": BAD, "edge-3": FRESH, "edge-4": None}
    return {f"{name}.{region}": told(word, at) for name, word in words.items()}


def report(region: str, at: float, *, tells: bool = True) -> FleetReport:
    devices = lives(region, at) if tells else dict.fromkeys(lives(region, at))
    whole: RegionLive | None = liverisk.of_region(devices, connected=set(devices), now=at) if tells else None
    return FleetReport(
        at=at, cases_stored=900, cases_answered=900, cases_train=700, cases_evaluation=50, live=whole,
        devices=tuple(DeviceSummary(name=name, seen_at=at, release=1, connected=True, live=live) for name, live in devices.items()),
    )  # fmt: skip


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with browser.browser(tmp_path / "profile") as opened:
        yield opened
        assert opened.complaints == []


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[World, Desk, str]]:
    (tmp_path / "cloud").mkdir()
    with dashboard(tmp_path / "cloud") as made:
        yield made


@contextmanager
def region_page(folder: Path) -> Iterator[tuple[str, AccountStore]]:
    port, now = free_port(), time.time()
    settings = RegionSettings(
        name="region-1", fleet="acme", state=folder, people=PeopleSettings(port=port),
        identity=IdentitySettings(folder=folder / "identity", workers=folder / "workers"),
    )  # fmt: skip
    vault = Vault(settings.vault_path)
    vault.start()
    devices = {**lives("region-1", now), "edge-5.region-1": told(FINE, now - 400.0)}
    connected = set(devices) - {"edge-5.region-1"}
    shown: dict[str, Any] = liverisk.shown(devices, liverisk.of_region(devices, connected=connected, now=now), connected=connected)
    parts = people_parts(settings, vault, lambda: 1, lambda: shown)
    for part in parts:
        part.start()
    try:
        yield f"https://localhost:{port}", AccountStore(settings.people_path)
    finally:
        for part in reversed(parts):
            part.stop()
        vault.stop()


def rows(page: Page, caption: str) -> list[str]:
    return page.run(  # type: ignore[no-any-return]
        "[...document.querySelectorAll('table')].filter((one) => one.caption?.innerText === " + repr(caption) + ")"
        ".flatMap((one) => [...one.tBodies[0].rows].map((row) => row.innerText.replaceAll('\\n', ' ').replaceAll('\\t', ' | ')))"
    )


def test_the_cloud_shows_each_region_s_live_risk_and_opens_its_devices(site: tuple[World, Desk, str], page: Page) -> None:
    world, desk, address = site
    now = time.time()
    world.fleet.report("region-1", report("region-1", now), now=now)
    world.fleet.report("region-2", report("region-2", now, tells=False), now=now)
    world.fleet.report("region-9", report("region-9", now - 300.0), now=now - 300.0)
    enter(page, desk, address, Role.VIEWER)
    until(lambda: len(rows(page, "Live risk by region")) == 3, "three regions")
    first, old, away = rows(page, "Live risk by region")
    assert "4.1 %" in first
    assert "not told" in old
    assert "0.0 %" not in old
    assert "away" in away
    assert "as of 5 min ago" in away
    assert page.sees("3 devices, 1 region not told")
    page.run("[...document.querySelectorAll('table tbody tr')].find((one) => one.innerText.includes('region-1')).click()")
    until(lambda: len(rows(page, "Live risk by device")) >= 4, "its devices")
    found = {row.split(" ")[0]: row for row in rows(page, "Live risk by device")}
    assert "1.0 %" in found["edge-1"]
    assert "censored" in found["edge-2"]
    assert "alarm" in found["edge-2"]
    assert "not known yet" in found["edge-3"]
    assert "not told" in found["edge-4"]
    page.open(address, width=390, height=844)
    until(lambda: len(rows(page, "Live risk by region")) == 3, "the same on a phone")
    assert page.run("Math.max(innerWidth, document.documentElement.scrollWidth)") <= 390


def test_a_region_shows_the_live_risk_of_each_device_to_whoever_may_look(page: Page, tmp_path: Path) -> None:
    (tmp_path / "region").mkdir()
    with region_page(tmp_path / "region") as (address, accounts):
        page.open(f"{address}/welcome#code={accounts.invite(Role.VIEWER, 'vera')}")
        page.type("input[name=username]", "vera")
        page.type("input[name=password]", PASSWORD)
        page.type("input[name=again]", PASSWORD)
        page.click("Make my account")
        until(lambda: page.run("location.pathname") == "/", "to be signed in")
        page.complaints = [one for one in page.complaints if "403" not in one]  # a viewer sees no cases
        page.open(f"{address}/devices")
        until(lambda: len(rows(page, "Live risk by device")) == 5, "five devices")
        found = {row.split(" ")[0]: row for row in rows(page, "Live risk by device")}
        assert "12.0 %" in found["edge-2"]
        assert "40 unanswered, censored" in found["edge-2"]
        assert "not told" in found["edge-4"]
        assert "silent" in found["edge-5"]
        assert "min ago" in found["edge-5"]
        assert page.sees("Highest for sure: edge-2")
        assert page.sees("Not told by 1 connected device")
        page.open(f"{address}/devices", width=390, height=844)
        until(lambda: len(rows(page, "Live risk by device")) == 5, "the same on a phone")
        assert page.run("Math.max(innerWidth, document.documentElement.scrollWidth)") <= 390
