"""Outputs: the queue's rules, a real mosquitto that dies, a real HTTPS receiver that refuses, and none of it ever blocks whoever puts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import MqttOutputSettings, WebhookOutputSettings
from edge.events import Event
from edge.outlets import topic
from edge.outlets.backlog import Backlog
from edge.outlets.delivery import DELIVERED, Attempt, Outcome, again, backoff_s, judge
from edge.outlets.outlet import Outlet
from edge.outlets.plant import PlantBroker
from edge.outlets.selection import Selection
from edge.outlets.webhook import Webhook, split
from shared.errors import ConfigurationError
from shared.identity.tls import people_context
from shared.link.mqtt import MqttClient
from shared.link.proxy import NO_PROXY
from tests.brokers import free_port
from tests.waiting import until

SECRET = b"sixteen bytes or more"
NAMES = {"device": "edge-1.north", "region": "north", "fleet": "acme"}
ALL = Selection()


def event(number: int, *, state: str = "final", label: str = "good", stream: str = "line-1") -> Event:
    return Event(
        stream=stream, sequence=number, time=1.5, state=state, index=0, label=label, confidence=0.9, source="edge", action="keep",
        reason="above_threshold", score=2.0, release=1, deadline=6.5, latency_ms=3.0,
    )  # fmt: skip


class ListSink:
    """Keeps what it is given, once it is told to work; `gate` holds it in the middle of a delivery."""

    kind, target, most, gather_s = "list", "here", 7, 0.0

    def __init__(self) -> None:
        self.got: list[int] = []
        self.answer: Attempt = DELIVERED
        self.gate = threading.Event()
        self.gate.set()

    def check(self) -> None:
        """Nothing to check."""

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        self.gate.set()

    def deliver(self, batch: Any) -> Attempt:
        self.gate.wait()
        if self.answer is DELIVERED:
            self.got += [one.sequence for one in batch]
        return self.answer


@given(st.lists(st.one_of(st.integers(0, 9), st.none()), max_size=60), st.integers(1, 5))
def test_a_backlog_keeps_the_newest_in_order_and_counts_the_rest(steps: list[int | None], most: int) -> None:
    backlog: Backlog[int] = Backlog(most)
    waiting: list[int] = []
    added = taken = 0
    for step in steps:
        if step is None:
            added += 1
            backlog.add(added)
            waiting = [*waiting, added][-most:]
        else:
            got = backlog.take(step)
            assert got == waiting[:step]
            waiting = waiting[step:]
            taken += len(got)
        assert len(backlog) == len(waiting) <= most
    assert added == taken + len(backlog) + backlog.lost_in_all()


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_label_never_leads_to_another_topic(label: str, stream: str) -> None:
    filled = topic.fill("plant/{stream}/{label}", {"stream": stream, "label": label})
    assert filled.count("/") == 2
    assert not set("+#\x00") & set(filled)
    assert "" not in filled.split("/")


@pytest.mark.parametrize("template", ["", "a/+/b", "a/#", "a/{nobody}", "$SYS/x", "a/{stream", "a\x00b"])
def test_a_template_that_is_no_topic_is_refused(template: str) -> None:
    with pytest.raises(ConfigurationError, match="topic"):
        topic.check(template)


def test_what_an_answer_means() -> None:
    assert judge(204) is DELIVERED
    assert [judge(status).outcome for status in (400, 413, 422)] == [Outcome.REFUSED] * 3
    assert [judge(status).outcome for status in (301, 401, 404, 408, 429, 500, 503)] == [Outcome.AGAIN] * 7
    assert judge(429, "7").wait_s == 7.0
    assert judge(503, "99999").wait_s == 300.0
    assert judge(503, "Wed, 21 Oct 2026 07:28:00 GMT").wait_s == 0.0
    assert judge(503, "²").wait_s == 0.0
    assert max(backoff_s(failures, 1.0) for failures in range(1, 5000, 7)) == 60.0


def test_an_output_that_hangs_loses_the_oldest_and_never_holds_up_whoever_puts() -> None:
    sink = ListSink()
    sink.gate.clear()
    outlet = Outlet("slow", sink, ALL, most_waiting=100)
    outlet.start()
    outlet.put(event(0))
    until(lambda: outlet.status()["waiting"] == 1 and not len(outlet._backlog), "the first is in hand")
    for number in range(1, 5001):
        outlet.put(event(number))  # returns while the output hangs
    status = outlet.status()
    assert (status["waiting"], status["lost_by_reason"]) == (101, {"overflow": 4900})
    sink.gate.set()
    until(lambda: len(sink.got) == 101)
    assert sink.got == [0, *range(4901, 5001)]
    outlet.stop()


def test_an_output_that_fails_is_tried_again_and_one_that_refuses_is_passed_over() -> None:
    sink = ListSink()
    sink.answer = again("nobody there")
    outlet = Outlet("list", sink, Selection(states=("final",), labels=("bad",)))
    outlet.start()
    for number, state, label in ((1, "provisional", "bad"), (2, "final", "good"), (3, "final", "bad")):
        outlet.put(event(number, state=state, label=label))
    until(lambda: outlet.status()["failures"] > 1, "it is tried again")
    assert outlet.status()["failing"] == "nobody there"
    sink.answer = DELIVERED
    until(lambda: sink.got == [3])
    until(lambda: outlet.status()["delivered"] == 1)
    assert outlet.status()["failing"] == ""
    sink.answer = judge(422)
    outlet.put(event(4, label="bad"))
    until(lambda: outlet.status()["lost_by_reason"] == {"refused": 1})
    outlet.stop()


def test_at_the_end_what_waits_is_tried_once_more_and_the_rest_counted() -> None:
    sink = ListSink()
    outlet = Outlet("list", sink, ALL)
    outlet.start()
    sink.gate.clear()
    for number in range(20):
        outlet.put(event(number))
    sink.gate.set()
    outlet.stop()
    assert sink.got == list(range(20))
    sink = ListSink()
    sink.answer = again("nobody there")
    outlet = Outlet("dead", sink, ALL)
    outlet.start()
    for number in range(20):
        outlet.put(event(number))
    began = time.monotonic()
    outlet.stop()
    assert time.monotonic() - began < 8
    assert outlet.status()["lost_by_reason"] == {"stopped": 20}


class Plant:
    """The plant's own mosquitto, with a password."""

    def __init__(self, folder: Path) -> None:
        self.port, self.folder = free_port(), folder
        self.password = folder / "password"
        self.password.write_text("horse battery\n")
        self.password.chmod(0o600)
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(folder / "users"), "line", "horse battery"], check=True, capture_output=True)
        text = f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {folder / 'users'}\n"
        (folder / "plant.conf").write_text(text + (f"user {os.environ.get('USER', 'root')}\n" if os.getuid() == 0 else ""))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(["mosquitto", "-c", str(self.folder / "plant.conf")], stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def settings(self, **more: Any) -> MqttOutputSettings:
        return MqttOutputSettings(
            name="plc", host="127.0.0.1", port=self.port, tls=False, topic="plant/{region}/{stream}/{label}", username="line",
            password_file=self.password, **more,
        )  # fmt: skip

    def listener(self, got: list[tuple[str, dict[str, Any]]]) -> MqttClient:
        client = MqttClient(
            host="127.0.0.1", port=self.port, context=None, client_id="plc", credentials=("line", "horse battery"), is_persistent=True,
            on_message=lambda name, payload: got.append((name, json.loads(payload))),
        )  # fmt: skip
        client.subscribe(["plant/#"])
        client.start()
        until(lambda: client.is_connected, client.last_error)
        return client


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    plant = Plant(tmp_path)
    plant.start()
    yield plant
    plant.kill()


def test_events_reach_the_plant_s_broker_also_across_its_death(plant: Plant) -> None:
    got: list[tuple[str, dict[str, Any]]] = []
    listener = plant.listener(got)
    outlet = Outlet("plc", PlantBroker(plant.settings(), client_id="terrace-edge-1.north-plc", names=NAMES), ALL)
    outlet.start()
    for number in range(200):
        outlet.put(event(number, label="a/b"))
    until(lambda: len(got) == 200, lambda: f"{len(got)} came; {outlet.status()}")
    assert got[5][0] == "plant/north/line-1/a_b"
    assert [one["sequence"] for _, one in got] == list(range(200))
    assert got[0][1]["label"] == "a/b"
    until(lambda: outlet.status()["delivered"] == 200)
    plant.kill()
    for number in range(200, 260):
        outlet.put(event(number))
    until(lambda: not listener.is_connected, "the broker is gone")
    plant.start()
    until(lambda: outlet.status()["delivered"] == 260, lambda: str(outlet.status()), within_s=40)
    assert outlet.status()["lost"] == 0
    outlet.stop()
    listener.stop()


def test_a_wrong_password_is_said_and_events_wait(plant: Plant) -> None:
    plant.password.write_text("donkey")
    outlet = Outlet("plc", PlantBroker(plant.settings(), client_id="terrace-edge-1.north-plc", names=NAMES), ALL)
    outlet.start()
    outlet.put(event(1))
    until(lambda: "refuses" in outlet.status()["failing"], lambda: str(outlet.status()), within_s=20)
    assert "donkey" not in str(outlet.status())
    outlet.stop()


def test_what_a_plant_s_settings_name_must_be_usable(plant: Plant, tmp_path: Path) -> None:
    for more, says in (({"tls": True, "ca": tmp_path / "none.pem"}, "certificates"), ({"topic": "a/#"}, "topic")):
        settings = MqttOutputSettings(**{"name": "plc", "host": "127.0.0.1", "port": plant.port, **more})
        with pytest.raises(ConfigurationError, match=says):
            Outlet("plc", PlantBroker(settings, client_id="x", names=NAMES), ALL).check()
    plant.password.chmod(0o644)
    with pytest.raises(ConfigurationError, match="open to every user"):
        PlantBroker(plant.settings(), client_id="x", names=NAMES).check()


class Receiver:
    """An HTTPS server that answers what it is told and keeps what it was sent."""

    def __init__(self, folder: Path) -> None:
        self.statuses: list[int] = []
        self.posts: list[tuple[str, dict[str, str], bytes]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                owner.posts.append((self.path, {name.lower(): value for name, value in self.headers.items()}, content))
                self.send_response(owner.statuses.pop(0) if owner.statuses else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Silent."""

        tls = people_context(folder, ["127.0.0.1"], now=time.time())
        self.ca = tls.certificate_path
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = tls.context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.secret = folder / "secret"
        self.secret.write_text("whsec_" + base64.b64encode(SECRET).decode() + "\n")
        self.secret.chmod(0o600)

    def settings(self, **more: Any) -> WebhookOutputSettings:
        given = {"name": "mes", "url": f"https://127.0.0.1:{self.port}/hook/t0ken?x=1", "secret_file": self.secret, "ca": self.ca, **more}
        return WebhookOutputSettings(**given)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path)
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def test_a_webhook_gets_signed_batches_and_a_repeated_one_has_the_same_name(receiver: Receiver) -> None:
    receiver.statuses = [503, 200]
    outlet = Outlet("mes", Webhook(receiver.settings(), device="edge-1.north", proxy=NO_PROXY), ALL)
    outlet.start()
    for number in range(150):
        outlet.put(event(number))
    until(lambda: outlet.status()["delivered"] == 150, lambda: str(outlet.status()), within_s=20)
    outlet.stop()
    (path, first, content), (_, second, repeated) = receiver.posts[:2]
    assert path == "/hook/t0ken?x=1"
    assert first["webhook-id"] == second["webhook-id"] != receiver.posts[2][1]["webhook-id"]
    assert content == repeated
    for _, headers, body in receiver.posts:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        wanted = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{wanted}"
        assert headers["content-type"] == "application/json"
    told = [one["sequence"] for _, _, body in receiver.posts[1:] for one in json.loads(body)["data"]]
    assert told == list(range(150))
    assert json.loads(content)["device"] == "edge-1.north"
    assert "t0ken" not in str(outlet.status())


def test_a_receiver_that_is_not_believed_or_will_not_have_it_costs_events_and_says_so(receiver: Receiver) -> None:
    stranger = Outlet("mes", Webhook(receiver.settings(ca=None), device="edge-1.north", proxy=NO_PROXY), ALL)
    stranger.start()
    stranger.put(event(1))
    until(lambda: "not one we trust" in stranger.status()["failing"], lambda: str(stranger.status()))
    stranger.stop()
    assert receiver.posts == []
    receiver.statuses = [422]
    outlet = Outlet("mes", Webhook(receiver.settings(), device="edge-1.north", proxy=NO_PROXY), ALL)
    outlet.start()
    outlet.put(event(2))
    until(lambda: outlet.status()["lost_by_reason"] == {"refused": 1})
    outlet.stop()


@pytest.mark.parametrize("url", ["http://x/y", "https://:1/", "https://a:b@x/y", "https://x:99999/", "https://x/a b", "ftp://x"])
def test_an_address_that_cannot_be_used_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        split(url)
    assert url not in str(caught.value)


@given(st.text(max_size=40))
def test_no_address_is_anything_but_https_or_an_error(text: str) -> None:
    for url in (text, f"https://{text}"):
        try:
            base, path = split(url)
        except ConfigurationError:
            continue
        assert base.startswith("https://")
        assert path.startswith("/") or path == ""


def test_a_secret_that_is_none_is_refused_without_repeating_it(receiver: Receiver) -> None:
    for text, says in (("whsec_!!!", "Base64"), ("short", "16 bytes"), ("", "empty")):
        receiver.secret.write_text(text)
        with pytest.raises(ConfigurationError, match=says) as caught:
            Webhook(receiver.settings(), device="d", proxy=NO_PROXY).check()
        assert not text or text not in str(caught.value)
