"""The agent as a user meets it: a real process, wrong configurations, a kill and a restart, and the commands beside it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edge.cli import app
from edge.main import load_identity, load_settings
from provisioning.pki import create_fleet
from shared.errors import ConfigurationError, IdentityError, InputError, TerraceError
from shared.status import read_status
from tests.unit.edge_parts import SIZE, write_release
from tests.waiting import until

EDGE = [sys.executable, "-c", "import sys; sys.argv[0] = 'terrace'; from shared.cli import main; main()", "edge"]


class Site:
    """One device's files: identity, model, data set, configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "edge.toml"
        self.events_file = folder / "events.jsonl"
        self.state = folder / "state"
        authority = create_fleet(folder / "pki", "acme")
        authority.issue_region_device_ca("region-1")
        authority.issue_device("region-1", "edge-1", destination=folder / "identity")
        write_release(folder / "model")
        rng = np.random.default_rng(0)
        frames = np.zeros((10, SIZE, SIZE, 3), np.uint8)
        frames[..., 0], frames[..., 1] = rng.integers(0, 255, 10)[:, None, None], rng.integers(0, 255, 10)[:, None, None]
        np.savez(folder / "data.npz", frames=frames, labels=np.zeros(10, np.int64), units=np.array(list("abcdefghij")), names=["x"])
        self.write()

    def write(self, **replace: str) -> None:
        text = f"""
name = "edge-1"
region = "region-1"
fleet = "acme"
state = "state"
[identity]
folder = "identity"
[link]
host = "127.0.0.1"
port = 1
relay_url = "https://127.0.0.1:1"
[policy]
audit_share = 0.3
answer_deadline_s = 0.2
[model]
path = "model"
[outputs]
file = "{self.events_file}"
[[streams]]
name = "line-1"
kind = "replay"
path = "data.npz"
fps = 200.0
[[streams]]
name = "gone"
kind = "video"
path = "no-such.mp4"
"""
        for old, new in replace.items():
            text = text.replace(old, new)
        self.config.write_text(text)

    def run(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen([*EDGE, "run", "--config", str(self.config)], stdout=log, stderr=log)

    def events(self) -> list[dict[str, Any]]:
        lines = self.events_file.read_bytes().split(b"\n") if self.events_file.exists() else []
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def logged(self, event: str) -> dict[str, Any]:
        """Return the newest log line of a name."""
        lines = [json.loads(line) for line in (self.folder / "log").read_text().splitlines() if line.startswith("{")]
        return next(line for line in reversed(lines) if line.get("event") == event)

    def command(self, *arguments: str) -> Any:
        result = CliRunner().invoke(app, [*arguments, "--config", str(self.config)])
        if result.exception is not None:
            raise result.exception
        return result.output


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def running(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    process = site.run()
    until(lambda: len(site.events()) > 20, within_s=20)
    yield process
    process.kill()
    process.wait()


def test_a_device_alone_answers_every_frame_and_spools_what_it_should_send(site: Site, running: subprocess.Popen[bytes]) -> None:
    until(lambda: json.loads(site.command("spool", "--json"))["cases_spooled"] > 3)
    status = read_status(site.state / "status.sock")
    stream = status["streams"]["line-1"]
    assert status["name"] == "edge-1.region-1"
    assert status["release"] == 1
    assert stream["state"] == "running"
    assert status["streams"]["gone"]["state"] == "failed"
    assert "no-such.mp4" in status["streams"]["gone"]["reason"]
    assert stream["kept"] + stream["deferred"] + stream["audited"] > 20
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=15) == 0
    final = {event["sequence"]: event for event in site.events() if event["state"] == "final"}
    provisional = {event["sequence"] for event in site.events() if event["state"] == "provisional"}
    assert provisional <= set(final)
    sent = sum(event["action"] != "keep" for event in final.values())
    counted = json.loads(site.command("spool", "--json"))
    ended = site.logged("cases_ended")
    assert counted["cases_spooled"] == counted["cases_waiting"] == ended["spooled"]
    assert ended["spooled"] + ended["dropped"] + ended["not_spooled"] == sent, "what a busy disk had no time for is counted"
    assert ended["left"] == 0
    assert not (site.state / "status.sock").exists()


def test_after_a_kill_no_frame_number_and_no_case_is_used_twice(site: Site) -> None:
    for _ in range(2):
        before = len(site.events())
        process = site.run()
        until(lambda before=before: len(site.events()) > before + 30, within_s=20)
        process.kill()
        process.wait()
    finals = [event["sequence"] for event in site.events() if event["state"] == "final" and event["source"] == "edge"]
    assert len(finals) == len(set(finals))
    assert max(finals) >= 4096
    by_place: dict[int, set[int]] = {}
    for event in site.events():
        by_place.setdefault(event["sequence"] % 10, set()).add(event["index"])
    assert all(len(indices) == 1 for indices in by_place.values())
    counted = json.loads(site.command("spool", "--json"))
    assert counted["cases_spooled"] == counted["cases_waiting"] > 0


@pytest.mark.parametrize(
    ("old", "new", "code", "says"),
    [
        ("[policy]", "[polcy]", 10, "polcy"),
        ("fps = 200.0", 'fps = "fast"', 10, "fps"),
        ('name = "gone"', 'name = "line-1"', 10, "line-1"),
        ("audit_share = 0.3", "threshold = nan", 10, "$.policy.threshold"),
        ("fps = 200.0", "area = [0.0, 0.0, 1.0, inf]", 10, "$.streams[0].area[3]"),
        ("port = 1\n", "", 10, "port"),
        ('path = "model"', 'profile = "toaster"', 10, "toaster"),
        ('folder = "identity"', 'folder = "elsewhere"', 12, "elsewhere"),
        ('name = "edge-1"', 'name = "edge-2"', 12, "edge-2"),
        ('path = "model"', 'path = "nothing"', 16, "nothing"),
        ('state = "state"', 'state = "/proc/none"', 13, "state"),
    ],
)
def test_what_is_wrong_stops_the_start_with_one_line_and_its_code(site: Site, old: str, new: str, code: int, says: str) -> None:
    site.write(**{old: new})
    done = subprocess.run([*EDGE, "run", "--config", str(site.config)], capture_output=True, timeout=30)
    assert done.returncode == code, done.stderr
    words = [line for line in done.stderr.decode().splitlines() if line.startswith("terrace: ")]
    assert len(words) == 1
    assert says in words[0]
    assert b"Traceback" not in done.stderr


def test_check_looks_at_everything_and_fails_with_the_first(site: Site) -> None:
    result = CliRunner().invoke(app, ["check", "--config", str(site.config), "--json"])
    found = {line["what"]: line for line in json.loads(result.output)}
    assert found["identity"]["found"] == "edge-1.region-1"
    assert found["stream line-1"]["found"] == "10 frames"
    assert found["first model"]["ok"]
    assert not found["stream gone"]["ok"]
    assert found["stream gone"]["remedy"]
    assert isinstance(result.exception, InputError)


def test_explain_tells_what_became_of_a_frame(site: Site, running: subprocess.Popen[bytes]) -> None:
    number = next(event["sequence"] for event in site.events() if event["action"] == "audit")
    words = site.command("explain", "line-1", str(number))
    assert "audit_sample" in words
    assert json.loads(site.command("explain", "line-1", str(number), "--json"))[0]["sequence"] == number
    with pytest.raises(InputError, match="no event"):
        site.command("explain", "line-1", "99999999")
    assert "release 1" in site.command("status")
    assert json.loads(site.command("status", "--json"))["release"] == 1


def test_commands_without_a_device_say_so(site: Site) -> None:
    for name, code in (("status", 14), ("spool", 13)):
        with pytest.raises(TerraceError) as caught:
            site.command(name)
        assert caught.value.exit_code == code
        assert caught.value.remedy


def test_the_environment_overrides_the_file(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TERRACE_POLICY__AUDIT_SHARE", "0.5")
    assert load_settings(site.config).policy.audit_share == 0.5
    monkeypatch.setitem(os.environ, "TERRACE_POLICY__AUDIT_SHARE", "1.5")
    with pytest.raises(ConfigurationError, match="audit_share"):
        load_settings(site.config)


def test_an_identity_of_another_fleet_is_refused(site: Site) -> None:
    site.write(acme="other")
    with pytest.raises(IdentityError, match="other"):
        load_identity(load_settings(site.config))
