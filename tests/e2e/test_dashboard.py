"""The dashboard in a real browser: an invited operator steers a real rollout by clicking, a viewer cannot."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.overview import SILENT_S
from cloud.people import Desk
from cloud.rollout_states import State
from shared.roles import Role
from tests import browser
from tests.browser import Page
from tests.dashboards import PASSWORD, dashboard, enter
from tests.unit.rollout_parts import DEVICES, World
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(browser.program() is None, reason=browser.MISSING)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[World, Desk, str]]:
    with dashboard(tmp_path) as made:
        yield made


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with browser.browser(tmp_path / "profile") as opened:
        yield opened
        assert opened.complaints == []


def say(page: Page, act: str, why: str) -> None:
    page.click(act)
    page.type("dialog input[name=reason]", why)
    page.click(act, within="dialog")
    until(lambda: page.run("document.querySelector('dialog') === null"), "the dialog to close")


def test_an_operator_pauses_resumes_promotes_and_aborts_a_rollout(site: tuple[World, Desk, str], page: Page) -> None:
    world, desk, address = site
    enter(page, desk, address, Role.OPERATOR)
    page.click("Releases")
    until(lambda: page.sees("Nothing is being rolled out"), "the page of releases")
    world.rollouts.begin(2, who="anna")
    until(lambda: page.sees("Rollout of student 2"), "the rollout on the page, without loading it again")
    say(page, "Pause", "lunch")
    assert world.book.rollouts()[0].state is State.PAUSED
    say(page, "Resume", "back")
    share = world.book.rollouts()[0].share
    say(page, "Promote", "looks well")
    assert world.book.rollouts()[0].share > share
    say(page, "Abort", "it does not")
    until(lambda: page.sees("aborted"), "the end on the page")
    assert world.book.rollouts()[0].state is State.ABORTED
    assert world.desired().release == 1
    assert {(change.who, change.reason) for change in world.book.history(1)} >= {("operator", "lunch"), ("operator", "it does not")}
    page.click("Audit")
    until(lambda: page.sees("rollout.abort"), "what was done in the audit log")


def test_a_viewer_sees_the_same_and_has_no_buttons(site: tuple[World, Desk, str], page: Page) -> None:
    world, desk, address = site
    world.rollouts.begin(2, who="anna")
    enter(page, desk, address, Role.VIEWER)
    page.click("Releases")
    until(lambda: page.sees("Rollout of student 2"), "the rollout")
    buttons = page.run("[...document.querySelectorAll('main button')].map((node) => node.innerText.trim())")
    assert not {"Promote", "Pause", "Abort"} & set(buttons)
    assert not page.sees("People")


def test_a_device_that_falls_silent_shows_by_itself_also_on_a_phone(site: tuple[World, Desk, str], page: Page) -> None:
    world, desk, address = site
    enter(page, desk, address, Role.VIEWER)
    page.open(address, width=390, height=844)
    until(lambda: all(page.sees(device.split(".")[0]) for device in DEVICES), "the devices")
    assert page.run("document.documentElement.scrollWidth") <= 390
    assert not page.sees("silent")
    world.now = time.time() - SILENT_S - 1
    world.live(0.0)
    world.silent.add(DEVICES[0])
    world.now = time.time()
    world.live(0.0)
    until(lambda: page.sees("silent"), "word of the silent device")


def test_a_session_that_ends_elsewhere_leads_to_signing_in(site: tuple[World, Desk, str], page: Page) -> None:
    _, desk, address = site
    desk.accounts.redeem(desk.accounts.invite(Role.ADMIN, "anna"), "anna", PASSWORD)  # somebody must stay
    enter(page, desk, address, Role.VIEWER)
    desk.accounts.remove("viewer")
    until(lambda: page.run("location.pathname") == "/login", "the page for signing in", within_s=20)
    page.complaints = [one for one in page.complaints if "401" not in one]  # how the browser words the refusal
