"""A real mosquitto with real certificates for tests: the region's own broker configuration on free loopback ports."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from provisioning.pki import Authority, create_fleet
from region.broker import Broker
from region.config import BrokerSettings
from shared.identity.store import Identity
from shared.identity.tls import client_context, peer_of_connection
from shared.link.mqtt import MqttClient


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Site:
    """A region's broker, its certificates, and clients for them."""

    def __init__(self, folder: Path, *, age_days: float = 0.0) -> None:
        self.folder = folder
        founded = create_fleet(folder / "fleet", "acme", now=lambda: time.time() - age_days * 86400)
        founded.issue_region_device_ca("region-1")
        self.authority = Authority.open(folder / "fleet")
        self.region = Identity.load(self.authority.issue_region("region-1", "server", ["127.0.0.1"], destination=folder / "region"))
        self.worker = Identity.load(self.authority.issue_region("region-1", "intake-0", [], destination=folder / "worker"))
        self.edge = self.device("edge-1")
        self.settings = BrokerSettings(port=free_port(), worker_port=free_port())
        self.broker = self.new_broker()

    def device(self, name: str, region: str = "region-1") -> Identity:
        return Identity.load(self.authority.issue_device(region, name, destination=self.folder / f"{name}.{region}"))

    def new_broker(self) -> Broker:
        return Broker(
            self.settings,
            folder=self.folder / "broker",
            certificate=self.region.certificate_path,
            key=self.region.key_path,
            anchors=dict(self.region.anchors.anchors),
            crl=self.region.revocation_lists(),
        )

    def client(
        self, identity: Identity, on_message: Callable[[str, bytes], None], *, as_worker: bool = False, **more: object
    ) -> MqttClient:
        return MqttClient(
            host="127.0.0.1",
            port=self.settings.worker_port if as_worker else self.settings.port,
            context=client_context(identity, server_tier="region"),
            client_id=identity.peer.common_name,
            expect_peer=lambda connection: peer_of_connection(connection, tier="region", fleet="acme"),
            on_message=on_message,
            **more,
        )


def connects(site: Site, context: ssl.SSLContext, *, worker: bool = False) -> bool:
    """Whether the broker answers an MQTT 3.1.1 CONNECT with its acceptance; every refusal comes during TLS or as a disconnect."""
    client_id = b"x"
    body = b"\x00\x04MQTT\x04\x02\x00\x3c" + len(client_id).to_bytes(2, "big") + client_id
    port = site.settings.worker_port if worker else site.settings.port
    address = ("127.0.0.1", port)
    with (
        contextlib.suppress(OSError),
        socket.create_connection(address, timeout=5) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(bytes([0x10, len(body)]) + body)
        return connection.recv(4) == b"\x20\x02\x00\x00"
    return False
