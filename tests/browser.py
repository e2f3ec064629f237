"""Headless Chromium by its own protocol (DevTools): pages are opened, clicked and measured as a person's browser would.

Asking is a loop over `tests.waiting.until`, so nothing rests on a pause.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.waiting import until

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium is installed; Debian's package is chromium"


def program() -> str | None:
    """Return the browser's path, or None where there is none."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Page:
    """One page.

    Attributes:
        complaints: errors and warnings of the console, of the network and of scripts, in the order they came.
        received_bytes: bytes that came over the network since `open`, as they were on the wire.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._asked = 0
        self.complaints: list[str] = []
        self.received_bytes = 0.0

    def command(self, method: str, **parameters: object) -> dict[str, Any]:
        """Ask for something and return its result; what happened meanwhile is noted."""
        self._asked += 1
        self._connection.send(json.dumps({"id": self._asked, "method": method, "params": parameters}))
        while (told := json.loads(self._connection.recv(timeout=30))).get("id") != self._asked:
            self._note(told)
        assert "error" not in told, told["error"]
        return dict(told["result"])

    def open(self, url: str, *, width: int = 1280, height: int = 900) -> None:
        """Go to an address and wait until it has loaded."""
        self.received_bytes = 0.0
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 700)
        self.command("Page.navigate", url=url)
        until(lambda: self.run("document.readyState === 'complete'"), url)

    def run(self, script: str) -> Any:
        """Return the value of an expression; a promise is awaited."""
        told = self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def sees(self, words: str) -> bool:
        """Whether these words stand on the page, in whatever case the style gives them."""
        return bool(self.run(f"(document.body?.innerText ?? '').toLowerCase().includes({json.dumps(words.lower())})"))

    def click(self, label: str, *, within: str = "body") -> None:
        """Click the button or link of this label, with the mouse, as soon as it is there."""
        script = (
            f"(() => {{ const one = [...document.querySelectorAll({json.dumps(within + ' button, ' + within + ' a')})]"
            f".find((node) => node.innerText.trim() === {json.dumps(label)} && !node.disabled);"
            " if (!one) return null; one.scrollIntoView({block: 'center'}); const box = one.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        until(lambda: self.run(script), f"a button {label!r}")
        x, y = self.run(script)
        for kind in ("mousePressed", "mouseReleased"):
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, selector: str, text: str) -> None:
        """Put the focus into a field and type."""
        script = f"(() => {{ const field = document.querySelector({json.dumps(selector)}); field?.focus(); return field !== null; }})()"
        until(lambda: self.run(script), selector)
        self.command("Input.insertText", text=text)

    def busy_seconds(self) -> tuple[float, float]:
        """Return the browser's own clock and how long its renderer has worked, both in seconds."""
        found = {one["name"]: float(one["value"]) for one in self.command("Performance.getMetrics")["metrics"]}
        return found["Timestamp"], found["TaskDuration"]

    def _note(self, told: dict[str, Any]) -> None:
        method, about = told.get("method"), told.get("params", {})
        if method == "Network.loadingFinished":
            self.received_bytes += about["encodedDataLength"]
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(about["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and about["type"] in {"error", "warning"}:
            self.complaints.append(json.dumps(about["args"])[:500])
        elif method == "Log.entryAdded" and about["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Run a browser with an empty profile in this folder; it believes self-signed certificates."""
    found = program()
    assert found is not None, MISSING
    switches = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--ignore-certificate-errors"]
    command = [found, *switches, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            said = profile / "DevToolsActivePort"
            until(lambda: said.exists() and said.read_text().count("\n"), "the browser to listen", within_s=30)
            port = int(said.read_text().split("\n")[0])
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=10) as answer:
                (tab,) = [one for one in json.load(answer) if one["type"] == "page"]
            with connect(tab["webSocketDebuggerUrl"], max_size=None) as connection:
                page = Page(connection)
                for domain in ("Page", "Runtime", "Log", "Network", "Performance"):
                    page.command(f"{domain}.enable")
                yield page
        finally:
            process.terminate()
