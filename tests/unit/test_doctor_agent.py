"""The doctor beside a running agent, with the region away, and as a command."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from edge import link_cli, linkwords
from edge.doctor import visit
from edge.doctor.findings import NEEDS, Finding, Outcome, blocked_by, lines
from edge.doctor.observations import agent_of
from edge.doctor.words import day, size, span
from edge.link_cli import app
from edge.uplink import Uplink, UplinkSettings
from shared.errors import LinkError
from shared.link.spool import Spool
from shared.status import StatusServer
from shared.wire.messages import Telemetry
from tests.unit.doctor_parts import Place, outcomes
from tests.waiting import until

TELEMETRY = Telemetry(at=1.0, floor=0, release=1, update_state="none", streams=(), spool_cases=0, spool_bytes=0)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made.start()
    made.stop()


@contextmanager
def agent(place: Place) -> Iterator[Uplink]:
    """A running uplink with a spool and a status socket: all of an agent that the doctor looks at."""
    state = place.folder / "state"
    state.mkdir(exist_ok=True)
    spool = Spool(state / "spool.db", state / "spool.key", 1 << 20)
    where = UplinkSettings(host="127.0.0.1", port=place.site.settings.port)
    edge = place.site.edge
    uplink = Uplink(settings=where, identity=edge, spool=spool, state=state, telemetry=lambda: TELEMETRY, on_answer=lambda _: None)
    status = StatusServer(state / "status.sock", lambda: {"name": "edge-1.region-1", "link": uplink.status(), "spool": {}})
    parts = (spool, uplink, status)
    for part in parts:
        part.start()
    try:
        yield uplink
    finally:
        for part in reversed(parts):
            part.stop()


def test_a_running_agent_is_asked_and_keeps_its_connection(place: Place) -> None:
    with agent(place) as uplink:
        until(lambda: uplink.status()["connected"])
        uplink.offer(b"\x00" * 30_000, is_audit=False, value=1.0)
        found = place.examine()
        assert uplink.status()["connections"] == 1
    assert outcomes(found, Outcome.WRONG) == []
    assert "the broker of region-1 delivers to the agent" in found["access"].found
    assert place.region.opens == 1


def test_an_agent_that_cannot_connect_is_quoted(place: Place) -> None:
    place.site.broker.stop()
    with agent(place) as uplink:
        until(lambda: uplink.status()["error"])
        said = uplink.status()["error"]
        place.site.broker = place.site.new_broker()
        status = {"connected": False, "error": said}
    with told(place, status):
        place.site.broker.start()
        found = place.examine()
    assert found["certificate"].outcome is Outcome.OK
    assert said in found["access"].found


def test_an_agent_whose_identity_is_used_twice(place: Place) -> None:
    """Two agents with one identity, as a cloned card makes them: they take the broker from each other, and the doctor says so."""
    with agent(place) as uplink:
        until(lambda: uplink.status()["connected"])
        clone = place.site.client(place.site.edge, lambda *_: None)
        clone.start()
        try:
            until(lambda: uplink.status()["connections_last_minute"] >= 4, within_s=30)
            found = place.examine()
        finally:
            clone.stop()
    assert "uses this identity" in found["access"].remedy
    assert found["access"].outcome is Outcome.WRONG


def test_a_key_that_the_agent_does_not_believe(place: Place) -> None:
    """The region's clock is a week ahead of the device's: its key is of next week."""
    start = int(time.time()) + 7 * 86400
    place.region.announce(not_before=start, not_after=start + 86400)
    with agent(place) as uplink:
        until(lambda: uplink.status()["dropped"].get("announcement"))
        found = place.examine()
    assert outcomes(found, Outcome.WRONG) == ["region"]
    assert "not believed" in found["region"].found
    assert found["region"].exit_code == 15


def test_the_broker_is_up_and_the_region_s_intake_is_not(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit, "ANSWER_S", 1.0)
    place.region.stop()  # the retained key stays in the broker
    found = place.examine()
    assert found["access"].outcome is Outcome.OK
    assert "does not answer an opening" in found["region"].found
    assert outcomes(found, Outcome.WRONG) == ["region"]
    assert outcomes(found, Outcome.SKIPPED) == ["round trip"]
    assert found["throughput"].outcome is Outcome.OK


def test_the_broker_is_up_and_the_whole_region_is_not(place: Place) -> None:
    place.region.stop()
    place.relay.stop()
    place.site.broker.stop()
    place.site.broker = place.site.new_broker()
    place.site.broker.start()  # as a broker of its own would be, when the region has never spoken
    found = place.examine()
    assert "the broker is up and the region is not" in found["access"].remedy.lower()
    assert "nobody listens" in found["relay"].found


@contextmanager
def told(place: Place, link: dict[str, Any]) -> Iterator[None]:
    """A status socket that tells this of the link."""
    state = place.folder / "state"
    state.mkdir(exist_ok=True)
    server = StatusServer(state / "status.sock", lambda: {"name": "edge-1.region-1", "link": link, "spool": {}})
    server.start()
    try:
        yield
    finally:
        server.stop()


def written(place: Place, port: int) -> Path:
    path = place.folder / "edge.toml"
    path.write_text(
        f'name = "edge-1"\nregion = "region-1"\nfleet = "acme"\nstate = "state"\n[identity]\nfolder = "{place.site.edge.folder}"\n'
        f'[link]\nhost = "127.0.0.1"\nport = {port}\nrelay_url = "https://127.0.0.1:{place.relay_port}"\n'
        '[outputs]\nfile = "events.jsonl"\n[[streams]]\nname = "s"\nkind = "replay"\npath = "none.npz"\n'
    )
    return path


def test_as_a_command_it_speaks_and_ends_with_a_code(place: Place) -> None:
    sound = CliRunner().invoke(app, ["doctor", "--config", str(written(place, place.site.settings.port)), "--json"])
    assert json.loads(sound.stdout)["ok"] is True, sound.stdout
    assert sound.exit_code == 0
    broken = CliRunner().invoke(app, ["doctor", "--config", str(written(place, 1))])
    assert broken.exit_code == 14
    assert "NO  tcp" in broken.stdout
    assert "Begin with: tcp." in broken.stdout
    place.site.edge.key_path.chmod(0o644)
    exposed = CliRunner().invoke(app, ["doctor", "--config", str(written(place, 1)), "--json"])
    assert exposed.exit_code == 12
    assert json.loads(exposed.stdout)["checks"][0]["outcome"] == "wrong"


def test_the_status_of_the_link_in_words_and_as_json(place: Place) -> None:
    with agent(place) as uplink:
        until(lambda: uplink.status()["connected"] and uplink.status()["credit_left"])
        config = str(written(place, place.site.settings.port))
        words = CliRunner().invoke(app, ["status", "--config", config]).stdout
        figures = json.loads(CliRunner().invoke(app, ["status", "--config", config, "--json"]).stdout)
    assert "connected to region-1 (1 connections" in words
    assert "epoch       open for" in words
    assert figures["link"]["epoch"]["state"] == "open"
    assert figures["link"]["credit_left"] > 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["name", "link", "spool", "x"]), JSON))
@settings(max_examples=60, deadline=None)
def test_whatever_an_agent_of_another_version_says_is_read(status: dict[str, Any]) -> None:
    assert agent_of(status) is not None


def test_a_check_waits_for_what_it_needs() -> None:
    seen: dict[str, Outcome] = {}
    for check in NEEDS:
        assert not blocked_by(check, seen)
        seen[check] = Outcome.UNKNOWN  # not known is no reason to stop
    assert blocked_by("region", {**seen, "access": Outcome.SKIPPED}) == "access"
    assert lines(Finding(check="tcp", outcome=Outcome.WRONG, found="no", remedy="yes"))[1].strip() == "-> yes"


def test_words_of_times_and_sizes() -> None:
    assert [span(0.25), span(75), span(93784), span(86400), span(3 * 86400)] == ["0.2 s", "1 min 15 s", "1 day 2 h", "1 day", "3 days"]
    assert [size(999), size(2400), size(2.4e6), size(1e9)] == ["999 bytes", "2.4 kB", "2.4 MB", "1.0 GB"]
    assert day(0) == "1970-01-01 00:00 UTC"
    assert day(1e20)
    assert linkwords.lines({})[-1].endswith("nothing")


def test_watching_says_it_again_until_it_is_interrupted(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = iter((None, None, KeyboardInterrupt))

    def wait(_: float) -> None:
        if (stop := next(waits)) is not None:
            raise stop

    monkeypatch.setattr(link_cli.time, "sleep", wait)
    with told(place, {"connected": True}):
        said = CliRunner().invoke(app, ["status", "--config", str(written(place, 1)), "--json", "--watch"])
    assert [json.loads(line)["link"] for line in said.stdout.splitlines()] == [{"connected": True}] * 3
    gone = CliRunner().invoke(app, ["status", "--config", str(written(place, 1))])
    assert isinstance(gone.exception, LinkError)
