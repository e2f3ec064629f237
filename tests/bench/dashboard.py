"""The dashboard in headless Chromium: how soon a change shows, what the page weighs and complains of, how busy the renderer is.

The pages, their TLS listener, the registry and the browser are real; four devices in two regions report every half a second, as in
the demo.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from cloud.rollout_states import Event
from shared.roles import Role
from tests import browser
from tests.bench.result import Result, conditions
from tests.browser import Page
from tests.dashboards import dashboard, enter
from tests.unit.rollout_parts import World
from tests.waiting import until

WATCHED_S = 20.0
REPORT_S = 0.5
SEEN = "document.querySelector('main article header').innerText.toLowerCase().includes('paused')"
WATCH = (
    "new Promise((done) => { const watcher = new MutationObserver(() => { if (seen()) { watcher.disconnect(); done(Date.now()); } });"
    f" const seen = () => {SEEN} === WANTED; if (seen()) done(Date.now());"
    " else watcher.observe(document.querySelector('main'), {subtree: true, childList: true, characterData: true}); })"
)


def run(*, full: bool) -> Result:
    """Change a rollout 20 times (100 in full) and see when the page shows it, then let the fleet report and watch the renderer."""
    assert browser.program() is not None, browser.MISSING
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "cloud"
        root.mkdir()
        with dashboard(root) as (world, desk, address), browser.browser(Path(folder) / "profile") as page:
            enter(page, desk, address, Role.OPERATOR)
            page.command("Network.setCacheDisabled", cacheDisabled=True)
            page.open(address)
            until(lambda: page.sees("edge-1"), "the fleet")
            weight = page.received_bytes
            page.click("Releases")
            world.rollouts.begin(2, who="bench")
            until(lambda: page.sees("Rollout of student 2"), "the rollout")
            shown = [_change(world, page, index) for index in range(100 if full else 20)]
            page.open(address)
            busy = _busy(world, page)
            figures = {
                "update_visible_ms_p50": statistics.median(shown),
                "update_visible_ms_max": max(shown),
                "page_bytes": weight,
                "console_errors": float(len(page.complaints)),
                "renderer_busy_share": busy,
            }
    return Result(name="dashboard", figures=figures, conditions=conditions(devices=4, regions=2, changes=len(shown)))


def _change(world: World, page: Page, index: int) -> float:
    """Pause the rollout or let it go on; returns the milliseconds from the commit to the page that says so (one machine, one clock)."""
    pauses = index % 2 == 0
    page.run(f"window.shown = {WATCH.replace('WANTED', 'true' if pauses else 'false')}; null")
    _spread(index)
    world.rollouts.act(1, Event.PAUSE if pauses else Event.RESUME, who="bench")
    committed = time.time()
    return max(0.0, float(page.run("window.shown")) - committed * 1e3)


def _spread(index: int) -> None:
    """Let the changes fall anywhere between two looks of the server."""
    time.sleep(0.3 + 0.037 * (index % 11))  # the moment of the change is what is varied


def _busy(world: World, page: Page) -> float:
    begun, worked = page.busy_seconds()
    end = time.monotonic() + WATCHED_S
    while time.monotonic() < end:
        world.now = time.time()
        world.live(0.0)
        world.rollouts.look()
        time.sleep(REPORT_S)  # the pace of what is measured: devices report twice a second
    ended, worked_then = page.busy_seconds()
    return (worked_then - worked) / (ended - begun)
