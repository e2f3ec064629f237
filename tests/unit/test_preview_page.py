"""The mounting page in a real browser: a wrong code, the right one, pictures that follow the stream, the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.events import local_event
from shared import clock
from tests import browser as browsers
from tests.unit.test_preview import Site, inferred
from tests.waiting import until

pytestmark = [
    pytest.mark.skipif(browsers.program() is None, reason=browsers.MISSING),
    pytest.mark.slow,  # a browser starts
]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A preview whose stream `a` goes on by itself."""
    site, ended = Site(tmp_path), threading.Event()
    site.preview.start()

    def stream() -> None:
        number = 0
        while not ended.wait(0.05):
            number += 1
            one = inferred(number, label="scratch", size=240)
            one.frame.pixels[: number % 240] = 90
            site.preview.window.see(one)
            site.preview.window.put(local_event(one, state="final", now=clock.monotonic()))

    thread = threading.Thread(target=stream)
    thread.start()
    yield site
    ended.set()
    thread.join()
    site.preview.stop()


def test_a_person_mounts_a_camera(site: Site, tmp_path: Path) -> None:
    site.open()
    number = "Number(/frame (\\d+)/.exec(document.body.innerText)?.[1] ?? 0)"
    with browsers.browser(tmp_path / "profile") as page:
        page.open(site.opened["url"])
        page.type("#code", "XXXX-XXXX")
        page.click("Open")
        until(lambda: page.sees("not, or no longer, right"))
        page.complaints.clear()  # the browser's own line about the 403
        page.type("#code", site.opened["code"].lower())
        page.click("Open")
        until(lambda: page.sees("scratch") and page.sees("Sharpness"), lambda: str(page.complaints))
        first = page.run(number)
        until(lambda: page.run(number) > first + 5, "the picture follows the stream")
        assert page.run("document.querySelector('.scene img').naturalWidth") == 480
        page.open(site.opened["url"])
        until(lambda: page.sees("scratch"), "a reload needs no code")
        page.click("b")
        until(lambda: page.sees("No new frame"), "a stream that stands still is told")
        page.click("a")
        until(lambda: page.sees("scratch"))
        assert page.complaints == [], "no script error, no refusal by the page's own policy"
        page.click("Close preview")
        until(lambda: page.sees("The preview is closed"))
        until(lambda: not site.preview.status()["open"])
        assert np.isfinite(page.busy_seconds()[1])
