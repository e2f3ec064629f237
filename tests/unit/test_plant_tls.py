"""Events to a plant's own mosquitto over TLS, with a client certificate of the plant's authority, and what is said where none fits."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge.config import MqttOutputSettings
from edge.events import Event
from edge.outlets.credentials import tls_context
from edge.outlets.outlet import Outlet
from edge.outlets.plant import PlantBroker
from edge.outlets.selection import Selection
from shared.link.mqtt import MqttClient
from tests.brokers import free_port
from tests.waiting import until

NAMES = {"device": "edge-1.north", "region": "north", "fleet": "acme"}


class Authority:
    """A plant's own certificate authority; writes `<name>.pem` and `<name>.key`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.file = folder, folder / f"{name}.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        made = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self._write(self.file, made.add_extension(usage, critical=True).sign(self._key, hashes.SHA256()))

    def issue(self, name: str) -> Path:
        """Return the file of a new certificate for a client, or a server at 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        where = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        made = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key).add_extension(where, critical=False)
        file = self.folder / f"{name}.pem"
        self._write(file, made.sign(self._key, hashes.SHA256()))
        form = serialization.PrivateFormat.PKCS8
        file.with_suffix(".key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return file

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.timezone.utc)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=1))
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.not_valid_after(now + dt.timedelta(days=30)).add_extension(own, critical=False)

    def _write(self, file: Path, certificate: x509.Certificate) -> None:
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


class Plant:
    """A mosquitto that speaks TLS only and knows its clients by their certificates; each may write `plant/<its name>/…` and read all."""

    def __init__(self, folder: Path) -> None:
        self.port, self.authority = free_port(), Authority(folder, "plant-authority")
        server = self.authority.issue("broker")
        (folder / "acl").write_text("pattern write plant/%u/#\npattern read plant/#\n")
        lines = [
            f"listener {self.port} 127.0.0.1", f"cafile {self.authority.file}", f"certfile {server}",
            f"keyfile {server.with_suffix('.key')}",
            "require_certificate true", "use_identity_as_username true", f"acl_file {folder / 'acl'}",
            *([f"user {os.environ.get('USER', 'root')}"] if os.getuid() == 0 else []),
        ]  # fmt: skip
        (folder / "plant.conf").write_text("\n".join(lines) + "\n")
        self.process = subprocess.Popen(["mosquitto", "-c", str(folder / "plant.conf")], stderr=subprocess.DEVNULL)

    def outlet(self, **more: Any) -> Outlet:
        given = {"ca": self.authority.file, **more}
        settings = MqttOutputSettings(name="plc", host="127.0.0.1", port=self.port, topic="plant/{device}/{stream}", **given)
        outlet = Outlet("plc", PlantBroker(settings, client_id="terrace-edge-1.north-plc", names=NAMES), Selection())
        outlet.start()
        return outlet

    def listener(self, got: list[tuple[str, dict[str, Any]]]) -> MqttClient:
        file = self.authority.issue("plc")
        client = MqttClient(
            host="127.0.0.1", port=self.port, context=tls_context(self.authority.file, file, file.with_suffix(".key"), "test"),
            client_id="plc", on_message=lambda name, payload: got.append((name, json.loads(payload))),
        )  # fmt: skip
        client.subscribe(["plant/#"])
        client.start()
        until(lambda: client.is_connected, lambda: str(client.last_error), within_s=20)
        return client


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    plant = Plant(tmp_path)
    yield plant
    plant.process.kill()
    plant.process.wait()


def event(number: int) -> Event:
    return Event(
        stream="line-1", sequence=number, time=1.5, state="final", index=0, label="good", confidence=0.9, source="edge", action="keep",
        reason="reaches_threshold", score=2.0, release=1, deadline=6.5, latency_ms=3.0,
    )  # fmt: skip


def test_events_reach_a_plant_that_knows_its_clients_by_their_certificates(plant: Plant) -> None:
    got: list[tuple[str, dict[str, Any]]] = []
    listener = plant.listener(got)
    file = plant.authority.issue("edge-1.north")
    outlet = plant.outlet(certificate=file, key=file.with_suffix(".key"))
    for number in range(100):
        outlet.put(event(number))
    until(lambda: len(got) == 100, lambda: f"{len(got)} came; {outlet.status()}", within_s=20)
    assert [said["sequence"] for _, said in got] == list(range(100))
    assert {name for name, _ in got} == {"plant/edge-1.north/line-1"}
    until(lambda: outlet.status()["delivered"] == 100, lambda: str(outlet.status()))
    assert (outlet.status()["lost"], outlet.status()["failing"]) == (0, "")
    outlet.stop()
    listener.stop()


def test_without_a_certificate_the_broker_lets_nobody_in_and_the_status_says_that_it_fails(plant: Plant) -> None:
    outlet = plant.outlet()
    outlet.put(event(1))
    until(lambda: outlet.status()["failing"] != "", lambda: str(outlet.status()), within_s=30)
    assert outlet.status()["delivered"] == 0
    outlet.stop()
    assert outlet.status()["lost_by_reason"] == {"stopped": 1}


def test_a_broker_of_another_authority_is_told_nothing(plant: Plant, tmp_path: Path) -> None:
    other, file = Authority(tmp_path, "another-authority"), plant.authority.issue("edge-1.north")
    outlet = plant.outlet(ca=other.file, certificate=file, key=file.with_suffix(".key"))
    outlet.put(event(1))
    until(lambda: "certificate" in outlet.status()["failing"], lambda: str(outlet.status()), within_s=30)
    assert outlet.status()["delivered"] == 0
    outlet.stop()
