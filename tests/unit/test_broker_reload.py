"""The supervised broker takes over new certificates, revocation lists and access lists while a client stays connected."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from region.config import BrokerSettings
from shared.errors import ConfigurationError
from shared.identity.store import Identity
from shared.identity.tls import client_context
from shared.link.mqtt import MqttClient
from shared.wire import topics
from shared.wire.address import address_of
from tests.brokers import Site, connects, free_port
from tests.waiting import until

EDGE = "edge-1.region-1"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    site.settings = BrokerSettings(port=free_port(), worker_port=free_port(), more_ports=(free_port(),))
    site.broker = site.new_broker()
    site.broker.start()
    yield site
    site.broker.stop()


def served(site: Site, port: int | None = None) -> str:
    """The serial number of the certificate that a new connection is shown."""
    context = client_context(site.edge, server_tier="region")
    address = ("127.0.0.1", port or site.settings.port)
    with socket.create_connection(address, 5) as raw, context.wrap_socket(raw, server_hostname="127.0.0.1") as connection:
        return str(connection.getpeercert()["serialNumber"])


def renewed(site: Site) -> Path:
    return site.authority.issue_region("region-1", "server", ["127.0.0.1"], destination=site.folder / "renewed")


def connected(site: Site, identity: Identity) -> MqttClient:
    client = site.client(identity, lambda *_: None)
    client.start()
    until(lambda: client.is_connected)
    return client


def test_a_new_certificate_is_served_and_who_is_connected_stays(site: Site) -> None:
    got: list[bytes] = []
    worker = site.client(site.worker, lambda _, payload: got.append(payload), as_worker=True)
    worker.subscribe(topics.worker_filters(range(64)))
    worker.start()
    edge = connected(site, site.edge)
    until(lambda: worker.is_connected)
    before, pid = served(site), site.broker.pid
    assert not site.broker.renew()
    folder = renewed(site)
    shutil.copy2(folder / "certificate.pem", site.region.certificate_path)  # half of a copy: the key is still the old one
    assert not site.broker.renew()
    assert served(site) == before
    shutil.copy2(folder / "key.pem", site.region.key_path)
    assert site.broker.renew()
    until(lambda: served(site) != before)
    assert served(site, site.settings.more_ports[0]) == served(site)
    until(lambda: edge.publish(topics.up(EDGE, "case"), b"still here") and got)
    assert (edge.connections, worker.connections, site.broker.pid, site.broker.restarts) == (1, 1, pid, 0)
    edge.stop(), worker.stop()


def test_a_renewed_certificate_survives_the_broker_and_rubbish_never_reaches_it(site: Site) -> None:
    before = served(site)
    site.region.certificate_path.write_text("rubbish")
    assert not site.broker.renew()
    site.broker.reload()
    assert served(site) == before
    site.region.certificate_path.unlink()
    assert not site.broker.renew()
    assert served(site) == before


def test_a_new_revocation_list_refuses_the_next_connection_of_one_device_only(site: Site) -> None:
    other = site.device("edge-2")
    edge = connected(site, site.edge)
    site.authority.revoke("edge-2.region-1")
    site.broker.revoke([], crl=site.authority.crl("region-1"))
    until(lambda: not connects(site, client_context(other, server_tier="region")))
    assert connects(site, client_context(site.device("edge-3"), server_tier="region"))
    assert edge.connections == 1
    edge.stop()


def test_devices_come_in_by_every_port(site: Site) -> None:
    edge = MqttClient(
        host="127.0.0.1",
        port=site.settings.more_ports[0],
        context=client_context(site.edge, server_tier="region"),
        client_id=EDGE,
        on_message=lambda *_: None,
    )
    edge.start()
    until(lambda: edge.is_connected)
    edge.stop()


@pytest.mark.parametrize(
    "url",
    ["", "mqtt://b:1883", "wss://b:443", "mqtts://", "mqtts://b:99999", "mqtts://b:0", "mqtts://u:p@b", "mqtts://b/path", "mqtts://[b"],
)
def test_what_is_no_brokers_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="mqtts://host:port"):
        address_of(url)


def test_a_brokers_address_is_read() -> None:
    assert address_of("mqtts://broker.example:8884/") == ("broker.example", 8884)
    assert address_of("mqtts://[::1]") == ("::1", 8883)
    assert BrokerSettings(url="mqtts://b:1").workers_at == ("b", 1)
    assert BrokerSettings().workers_at == ("127.0.0.1", 8884)
