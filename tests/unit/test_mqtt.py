"""The MQTT adapter on a real mosquitto with real TLS: it comes back by itself, stays bounded and never raises into its caller."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import IdentityError
from shared.link.mqtt import MqttClient, tune
from shared.wire import topics
from tests.brokers import Site, free_port
from tests.waiting import until

EDGE = "edge-1.region-1"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.broker.start()
    yield site
    site.broker.stop()


def running(client: MqttClient) -> MqttClient:
    client.start()
    until(lambda: client.is_connected, f"connected ({client.last_error})")
    return client


def test_what_a_device_publishes_its_worker_gets_and_back(site: Site) -> None:
    up: list[tuple[str, bytes]] = []
    down: list[tuple[str, bytes]] = []
    worker = site.client(site.worker, lambda topic, payload: up.append((topic, payload)), as_worker=True)
    worker.subscribe(topics.worker_filters(range(64)))
    edge = site.client(site.edge, lambda topic, payload: down.append((topic, payload)))
    edge.subscribe([topics.down_filter(EDGE), "t/all/+"])
    running(worker), running(edge)
    assert edge.publish(topics.up(EDGE, "case"), b"\x00\xff" * 100)
    until(lambda: up, "the worker got it")
    assert up == [(topics.up(EDGE, "case"), b"\x00\xff" * 100)]
    assert worker.publish(topics.down(EDGE, "msg"), b"receipt")
    assert worker.publish(topics.KEY_ANNOUNCEMENT, b"key", retain=True)
    until(lambda: len(down) == 2, "the edge got both")
    edge.subscribe([topics.KEY_ANNOUNCEMENT])
    until(lambda: len(down) == 3, "a retained message comes again with a new subscription")
    assert down[2] == (topics.KEY_ANNOUNCEMENT, b"key")
    edge.stop(), worker.stop()


def test_nagle_is_off_so_that_a_round_trip_takes_a_few_milliseconds(site: Site) -> None:
    arrived: list[float] = []
    edge = site.client(site.edge, lambda *_: None)
    worker = site.client(site.worker, lambda *_: arrived.append(time.perf_counter()), as_worker=True)
    worker.subscribe(topics.worker_filters(range(64)))
    running(worker), running(edge)
    until(lambda: edge.publish(topics.up(EDGE, "control"), b"first") and arrived, "the way is open")
    times = []
    for _ in range(20):
        count, began = len(arrived), time.perf_counter()
        edge.publish(topics.up(EDGE, "case"), bytes(30_000))
        until(lambda count=count: len(arrived) > count, "it came")
        times.append(arrived[-1] - began)
    edge.stop(), worker.stop()
    assert statistics.median(times) < 0.03, "40 ms and more is what Nagle with delayed acknowledgements costs"


def test_it_comes_back_when_the_broker_was_killed(tmp_path: Path) -> None:
    site = Site(tmp_path)
    states: list[bool] = []
    site.broker.start()
    edge = running(site.client(site.edge, lambda *_: None, on_state=states.append))
    os.kill(site.broker.pid, signal.SIGKILL)
    until(lambda: edge.connections == 2 and edge.is_connected, "it is connected again")
    until(lambda: states == [True, False, True], f"and said so: {states}")
    assert edge.publish(topics.up(EDGE, "case"), b"x")
    site.broker.stop()
    until(lambda: not edge.is_connected, "it notices")
    assert not edge.publish(topics.up(EDGE, "case"), b"x")
    edge.stop()
    edge.stop()


def test_unacknowledged_bytes_are_bounded_and_free_again(site: Site) -> None:
    freed: list[int] = []
    edge = running(site.client(site.edge, lambda *_: None, queue_bytes=50_000, on_room=lambda: freed.append(1)))
    os.kill(site.broker.pid, signal.SIGSTOP)
    try:
        taken = [edge.publish(topics.up(EDGE, "case"), bytes(20_000)) for _ in range(5)]
        assert taken == [True, True, False, False, False]
    finally:
        os.kill(site.broker.pid, signal.SIGCONT)
    until(lambda: edge.publish(topics.up(EDGE, "case"), bytes(60_000)), "both are acknowledged; one larger than the bound goes alone")
    assert freed
    edge.stop()


def test_unwritten_bytes_are_bounded_and_their_owner_is_told_each_time_there_is_room(site: Site) -> None:
    room = threading.Event()
    edge = running(site.client(site.edge, lambda *_: None, unwritten_bytes=40_000, on_room=room.set))
    os.kill(site.broker.pid, signal.SIGSTOP)
    taken = 0
    try:
        while taken < 1000 and (edge.publish(topics.up(EDGE, "case"), bytes(16_000)) or room.wait(timeout=0.5)):
            room.clear()
            taken += 1
    finally:
        os.kill(site.broker.pid, signal.SIGCONT)
    assert taken < 1000, "the kernel takes no more from a broker that stands still, and then neither do we"
    for _ in range(500):
        while not edge.publish(topics.up(EDGE, "case"), bytes(16_000)):
            assert room.wait(timeout=5.0), "there was room, and nobody said so"
            room.clear()
    edge.stop()


def test_a_callback_that_fails_does_not_end_the_connection(site: Site) -> None:
    got: list[bytes] = []

    def fail(topic: str, payload: bytes) -> None:
        got.append(payload)
        raise RuntimeError("a defect of the caller")

    worker = site.client(site.worker, fail, as_worker=True)
    worker.subscribe(topics.worker_filters(range(64)))
    running(worker)
    edge = running(site.client(site.edge, lambda *_: None))
    for number in range(3):
        edge.publish(topics.up(EDGE, "control"), b"%d" % number)
    until(lambda: len(got) == 3, "all came")
    assert worker.connections == 1
    edge.stop(), worker.stop()


def test_the_wrong_peer_is_left_before_anything_is_said(site: Site) -> None:
    def refuse(connection: object) -> None:
        raise IdentityError("this is not region-1.")

    edge = MqttClient(
        host="127.0.0.1",
        port=site.settings.port,
        context=site.client(site.edge, lambda *_: None)._context,
        client_id=EDGE,
        expect_peer=refuse,
        on_message=lambda *_: None,
    )
    edge.start()
    until(lambda: "not region-1" in edge.last_error, "it says why")
    assert not edge.is_connected
    assert edge.connections == 0
    edge.stop()


def test_a_device_of_another_listener_gets_no_connection(site: Site) -> None:
    """A device's certificate at the workers' listener: TLS 1.3 refuses it after the handshake."""
    edge = site.client(site.edge, lambda *_: None, as_worker=True)
    edge.start()
    until(lambda: edge.last_error, "it notices")
    assert edge.connections == 0
    edge.stop()


def test_nobody_listening_is_tried_again_and_stops_at_once(site: Site) -> None:
    edge = MqttClient(host="127.0.0.1", port=free_port(), context=None, client_id=EDGE, on_message=lambda *_: None)
    edge.start()
    until(lambda: edge.last_error, "it noticed")
    began = time.monotonic()
    edge.stop()
    assert time.monotonic() - began < 2
    assert not edge.publish("t", b"x")


def test_sockets_are_tuned_and_what_the_kernel_lacks_is_left_out() -> None:
    with socket.socket() as connection:
        tune(connection)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
