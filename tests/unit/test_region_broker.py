"""The supervised broker with real TLS: who gets in, who reads what, what revocation does, what comes back after a kill."""

from __future__ import annotations

import datetime as dt
import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from region.broker import Broker
from region.config import BrokerSettings
from shared.errors import DependencyError, IdentityError, LinkError
from shared.wire import topics
from tests.waiting import until

NOW = dt.datetime.now(dt.timezone.utc)
DAY = dt.timedelta(days=1)


class Authority:
    """A one-level test authority in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(subject, subject, self.key.public_key(), is_authority=True)
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def _sign(self, subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, *, is_authority: bool) -> x509.Certificate:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        if not is_authority:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, self.certificate.subject, key.public_key(), is_authority=False)
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        paths[1].chmod(0o600)
        return paths

    def crl(self) -> Path:
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        crl = builder.last_update(NOW - DAY).next_update(NOW + DAY).sign(self.key, hashes.SHA256())
        path = self.folder / f"{self.name}.crl.pem"
        path.write_bytes(crl.public_bytes(serialization.Encoding.PEM))
        return path


class Client:
    """A paho client that remembers what it received."""

    def __init__(self, port: int, trusts: Authority, identity: tuple[Path, Path]) -> None:
        self.got: list[tuple[str, bytes]] = []
        self.subscribed = threading.Event()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="anything")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=trusts.pem)
        context.load_cert_chain(*identity)
        self._client.tls_set_context(context)
        self._client.on_message = lambda _c, _u, message: self.got.append((message.topic, message.payload))
        self._client.on_subscribe = lambda *_: self.subscribed.set()
        self._client.connect("localhost", port, 30)
        self._client.loop_start()

    def subscribe(self, *filters: str) -> Client:
        until(self._client.is_connected)
        for one in filters:
            self.subscribed.clear()
            self._client.subscribe(one, 1)
            assert self.subscribed.wait(5)
        return self

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        until(self._client.is_connected)
        self._client.publish(topic, payload, 1, retain=retain).wait_for_publish(5)

    def is_connected(self) -> bool:
        return self._client.is_connected()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class World:
    """A broker between a region authority and an edge authority."""

    def __init__(self, folder: Path) -> None:
        self.region, self.edge = Authority(folder, "region-anchor"), Authority(folder, "edge-anchor")
        self.settings = BrokerSettings(port=free_port(), worker_port=free_port())
        certificate, key = self.region.issue("server.region-1")
        self.broker = Broker(
            self.settings, folder=folder / "broker", certificate=certificate, key=key, crl=self.edge.crl().read_bytes(),
            anchors={"edge": self.edge.pem, "region": self.region.pem},
        )  # fmt: skip
        self.clients: list[Client] = []

    def device(self, name: str, issuer: Authority | None = None) -> Client:
        return self._client(self.settings.port, (issuer or self.edge).issue(name))

    def worker(self, name: str = "intake-0.region-1", issuer: Authority | None = None) -> Client:
        return self._client(self.settings.worker_port, (issuer or self.region).issue(name))

    def _client(self, port: int, identity: tuple[Path, Path]) -> Client:
        client = Client(port, self.region, identity)
        self.clients.append(client)
        return client


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.broker.start()
    yield world
    for client in world.clients:
        client.close()
    world.broker.stop()


ONE, TWO = "edge-1.region-1", "edge-2.region-1"


def test_a_device_speaks_only_for_itself_and_hears_only_itself(world: World) -> None:
    worker = world.worker().subscribe(*topics.worker_filters(range(topics.SHARDS)))
    one = world.device(ONE).subscribe("#", topics.down_filter(TWO), topics.down_filter(ONE), "t/all/+")
    two = world.device(TWO).subscribe(topics.down_filter(TWO))
    one.publish(topics.up(TWO, "case"), b"forged")
    one.publish(topics.down(TWO, "msg"), b"forged")
    one.publish("t/all/key", b"forged", retain=True)
    one.publish(topics.up(ONE, "case"), b"own")
    until(lambda: bool(worker.got))
    assert worker.got == [(topics.up(ONE, "case"), b"own")]
    worker.publish(topics.down(TWO, "msg"), b"for two")
    worker.publish(topics.down(ONE, "msg"), b"for one")
    worker.publish(topics.KEY_ANNOUNCEMENT, b"key", retain=True)
    until(lambda: bool(two.got) and any(topic == topics.KEY_ANNOUNCEMENT for topic, _ in one.got))
    assert two.got == [(topics.down(TWO, "msg"), b"for two")]
    assert {payload for _, payload in one.got} == {b"for one", b"key"}


def test_certificates_of_the_other_tier_get_in_at_neither_door(world: World) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _read_after_handshake(world, world.settings.port, world.region.issue("intake-9.region-1"))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _read_after_handshake(world, world.settings.worker_port, world.edge.issue("edge-9.region-1"))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _read_after_handshake(world, world.settings.port, None)


def _read_after_handshake(world: World, port: int, identity: tuple[Path, Path] | None) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=world.region.pem)
    if identity:
        context.load_cert_chain(*identity)
    with socket.create_connection(("localhost", port), 5) as raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
        tls.sendall(b"\x10\x0c\x00\x04MQTT\x04\x02\x00<\x00\x00")
        if not tls.recv(10):
            raise ConnectionResetError("closed")


def test_tls_1_2_is_refused(world: World) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=world.region.pem)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("localhost", world.settings.port), 5) as raw, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(raw, server_hostname="localhost")


def test_a_revoked_device_falls_silent_on_its_live_connection(world: World) -> None:
    worker = world.worker().subscribe(*topics.worker_filters(range(topics.SHARDS)))
    one, two = world.device(ONE).subscribe(topics.down_filter(ONE)), world.device(TWO)
    one.publish(topics.up(ONE, "case"), b"before")
    until(lambda: len(worker.got) == 1)
    world.broker.revoke([ONE])

    def silent() -> bool:
        worker.got.clear()
        one.publish(topics.up(ONE, "case"), b"after")
        two.publish(topics.up(TWO, "case"), b"fence")
        until(lambda: any(payload == b"fence" for _, payload in worker.got))
        return [payload for _, payload in worker.got] == [b"fence"]

    until(silent)
    worker.publish(topics.down(ONE, "msg"), b"secret")
    worker.publish(topics.KEY_ANNOUNCEMENT, b"key")
    assert one.got == []
    world.broker.revoke([])
    until(lambda: not silent())


def test_a_killed_broker_comes_back_and_is_counted(world: World) -> None:
    first = world.broker.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: world.broker.pid not in {None, first})
    assert world.broker.restarts == 1
    until(lambda: _is_open(world.settings.port) and _is_open(world.settings.worker_port))
    worker = world.worker().subscribe(*topics.worker_filters(range(topics.SHARDS)))
    world.device(ONE).publish(topics.up(ONE, "case"), b"again")
    until(lambda: len(worker.got) == 1)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_taken_port_is_named_by_its_key(tmp_path: Path) -> None:
    world = World(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", world.settings.worker_port))
        taken.listen()
        with pytest.raises(LinkError, match=r"broker\.worker_port"):
            world.broker.start()


def test_a_missing_program_says_what_to_type(tmp_path: Path) -> None:
    world = World(tmp_path)
    settings = BrokerSettings(program="mosquitto-that-is-not-there")
    certificate, key = world.region.issue("x")
    broker = Broker(settings, folder=tmp_path / "b", certificate=certificate, key=key, anchors={"edge": "", "region": ""})
    with pytest.raises(DependencyError, match="apt-get install -y mosquitto"):
        broker.start()


def test_a_broker_that_cannot_read_its_files_says_so(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.broker._crl = b"no list"
    with pytest.raises(LinkError, match="mosquitto does not start"):
        world.broker.start()
    assert world.broker.pid is None
    (tmp_path / "server.region-1.pem").write_text("no certificate")
    with pytest.raises(IdentityError, match="cannot be served"):
        world.broker.start()
