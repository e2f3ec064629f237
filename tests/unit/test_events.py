"""The event stream over real TLS: what changed comes within a second, to all alike; who is slow, too many or signed out is let go."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from cloud import broadcast as broadcasting
from cloud import fleet as fleets
from cloud import registry as registries
from cloud import rollout_book
from cloud.broadcast import Broadcast
from cloud.database import Database
from cloud.overview import change
from cloud.people import people_app
from cloud.registry import Registry
from shared.access import TokenStore
from shared.doors import COOKIE
from shared.identity.tls import people_context
from shared.roles import Role
from shared.serving import serve
from shared.sessions import SessionStore
from tests.unit.test_people_api import desk_of
from tests.waiting import until

DEADLINE_S = 8.0


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    monkeypatch.setattr(broadcasting, "CHECK_S", 0.5)
    database = Database(tmp_path / "r.db", [registries.SCHEMA, fleets.SCHEMA, rollout_book.SCHEMA])
    database.start()
    tokens = TokenStore(tmp_path / "tokens.db")
    desk = desk_of(tmp_path, database, tokens)
    tls = people_context(tmp_path, ["127.0.0.1"], now=time.time())
    server = serve(people_app(desk), host="127.0.0.1", port=0, context=tls.context)
    server.start()
    trust = ssl.create_default_context(cafile=tls.certificate_path)
    account = desk.accounts.redeem(desk.accounts.invite(Role.VIEWER, "anna"), "anna", "three blue herons")
    sessions = SessionStore(tmp_path / "people.db")
    yield SimpleNamespace(
        url=f"https://127.0.0.1:{server.port}", port=server.port, trust=trust, desk=desk, path=tmp_path / "r.db",
        token=tokens.create(Role.VIEWER, "wall"), session=lambda: sessions.open(account), sessions=sessions, server=server,
    )  # fmt: skip
    desk.broadcast.stop()
    server.stop()
    database.stop()


class Listener:
    """A page that listens: every event with the time it came."""

    def __init__(self, cloud: SimpleNamespace, headers: dict[str, str] | None = None) -> None:
        self.events: list[tuple[float, str, Any]] = []
        self.status = 0
        self.ended = threading.Event()
        self._cloud = cloud
        self._headers = headers or {"authorization": f"Bearer {cloud.token}"}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with (
                httpx.Client(verify=self._cloud.trust, timeout=DEADLINE_S) as client,
                client.stream("GET", f"{self._cloud.url}/v1/events", headers=self._headers) as answer,
            ):
                self.status = answer.status_code
                name = ""
                for line in answer.iter_lines():
                    key, _, value = line.partition(": ")
                    name = value if key == "event" else name
                    if key == "data":
                        self.events.append((time.monotonic(), name, json.loads(value)))
        except httpx.HTTPError:
            pass
        finally:
            self.ended.set()

    def until(self, wanted: Callable[[str, Any], bool]) -> tuple[float, str, Any]:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            for event in list(self.events):
                if wanted(event[1], event[2]):
                    return event
            self.ended.wait(0.005)
        raise AssertionError(f"it did not come; there came {[event[1:] for event in self.events]}")


def is_round(number: int) -> Callable[[str, Any], bool]:
    return lambda name, data: name == "change" and data["topic"] == "rounds" and str(number) in data["set"]


def test_a_change_comes_to_everybody_within_a_second(cloud: SimpleNamespace) -> None:
    pages = [Listener(cloud), Listener(cloud, {"cookie": f"{COOKIE}={cloud.session().token}"})]
    for page in pages:
        _, _, snapshot = page.until(lambda name, _: name == "snapshot")
        assert snapshot["rounds"] == {}
    other = Database(cloud.path, [])  # as the round worker: another process's connection
    other.start()
    began = time.monotonic()
    Registry(other).request_round("bert", now=time.time())
    other.stop()
    for page in pages:
        came, _, data = page.until(is_round(1))
        assert data["set"]["1"]["requested_by"] == "bert"
        assert came - began < 1.0
    assert cloud.desk.broadcast.clients == 2


def test_signing_out_ends_the_stream(cloud: SimpleNamespace) -> None:
    session = cloud.session()
    page = Listener(cloud, {"cookie": f"{COOKIE}={session.token}"})
    page.until(lambda name, _: name == "snapshot")
    cloud.sessions.close(session.token)
    assert page.until(lambda name, _: name == "bye")[2] == {"reason": "signed out"}
    assert page.ended.wait(DEADLINE_S)
    until(lambda: cloud.desk.broadcast.clients == 0)


def test_stopping_ends_every_stream_at_once(cloud: SimpleNamespace) -> None:
    pages = [Listener(cloud) for _ in range(3)]
    for page in pages:
        page.until(lambda name, _: name == "snapshot")
    began = time.monotonic()
    cloud.desk.broadcast.stop()
    for page in pages:
        assert page.ended.wait(DEADLINE_S)
        assert page.events[-1][1:] == ("bye", {"reason": "the server stops"})
    assert time.monotonic() - began < 2.0
    late = Listener(cloud)
    assert late.ended.wait(DEADLINE_S)
    assert late.status == 503


def test_one_person_opens_only_so_many(cloud: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcasting, "MOST_PER_PERSON", 2)
    for page in [Listener(cloud), Listener(cloud)]:
        page.until(lambda name, _: name == "snapshot")
    third = Listener(cloud)
    assert third.ended.wait(DEADLINE_S)
    assert third.status == 503


def test_a_stranger_gets_nothing(cloud: SimpleNamespace) -> None:
    stranger = Listener(cloud, {"cookie": "x=y"})
    assert stranger.ended.wait(DEADLINE_S)
    assert (stranger.status, stranger.events) == (401, [])


def test_a_page_that_does_not_read_is_dropped(cloud: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcasting, "SEND_S", 0.5)
    size = 1 << 20
    serial = iter(range(10**6))
    heavy = Broadcast(lambda: next(serial), lambda: {"big": {str(next(serial)): "x" * size}})
    app = people_app(type(cloud.desk)(**{**{f: getattr(cloud.desk, f) for f in cloud.desk.__struct_fields__}, "broadcast": heavy}))
    tls = people_context(cloud.path.parent, ["127.0.0.1"], now=time.time())
    server = serve(app, host="127.0.0.1", port=0, context=tls.context)
    server.start()
    raw = socket.create_connection(("127.0.0.1", server.port))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow = cloud.trust.wrap_socket(raw, server_hostname="127.0.0.1")
    slow.sendall(f"GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {cloud.token}\r\n\r\n".encode())
    until(lambda: heavy.clients == 1)
    until(lambda: heavy.clients == 0)
    slow.close()
    heavy.stop()
    server.stop()


def test_only_what_changed_is_told() -> None:
    before = {"a": {"1": {"x": 1}, "2": 2}, "b": {"": 1}}
    assert change(before, before) == []
    after = {"a": {"1": {"x": 2}}, "b": {"": 1}, "c": {"n": 0}}
    assert change(before, after) == [{"topic": "a", "set": {"1": {"x": 2}}, "gone": ["2"]}, {"topic": "c", "set": {"n": 0}, "gone": []}]
