"""Who somebody says to be: certificates and names that are almost right, on a real broker, beside devices that are left alone."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared import durable
from shared.errors import TerraceError
from shared.identity import tls
from shared.identity.store import Identity
from shared.link.mqtt import MqttClient
from shared.wire import topics
from tests.brokers import Site as BrokerSite
from tests.brokers import connects
from tests.unit.pki_fleet import forge, signer
from tests.unit.test_region_main import Site, _send_until_receipted
from tests.waiting import until

WORKERS = ("intake-0", "server")


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("r"))
    site.start()
    yield site
    site.stop()


def joined(site: Site, identity: Identity, client_id: str, *, port: int = 0) -> tuple[MqttClient, list[bytes]]:
    """A client of the site's broker that subscribes to everything."""
    got: list[bytes] = []
    client = MqttClient(
        host="localhost", port=port or site.ports[0], context=tls.client_context(identity, server_tier="region"), client_id=client_id,
        on_message=lambda _, payload: got.append(payload), longest_backoff_s=0.2,
    )  # fmt: skip
    client.subscribe(["#", "t/#", "t/+/up/+/+", topics.down_filter("edge-2.region-1")])
    client.start()
    return client, got


@pytest.mark.parametrize("name", WORKERS)
def test_a_device_certificate_named_as_the_region(site: Site, name: str) -> None:
    """`intake-0.region-1` of the tier edge: the region's own names, under the device anchor."""
    other = site.device("edge-2").open()
    false = Identity.load(site.authority.issue_device("region-1", name, destination=site.folder / f"false-{name}"))
    assert false.peer.common_name == Identity.load(site.folder / ("server" if name == "server" else f"workers/{name}")).peer.common_name
    at_workers, nothing = joined(site, false, false.peer.common_name, port=site.ports[1])
    at_devices, got = joined(site, false, "region:intake-0.region-1")
    until(lambda: at_devices.is_connected)
    _send_until_receipted(other, 1)
    until(other.answers)
    assert (at_workers.connections, nothing) == (0, [])
    assert [payload for payload in got if payload != other.key] == []  # what is said to all is all it hears
    connected = other.client.connections
    for topic in (topics.down("edge-2.region-1", "msg"), topics.KEY_ANNOUNCEMENT, topics.REFRESH, topics.up("edge-2.region-1", "case")):
        at_devices.publish(topic, b"forged")
    at_devices.publish(topics.up(false.peer.common_name, "case"), b"own")  # behind the others; the region refuses it
    until(lambda: site.status()["dropped"].get("header"))
    assert site.status()["dropped"] == {"header": 1}
    assert all(payload != b"forged" for _, payload in other.got)
    _send_until_receipted(other, 2)  # the intake worker's own connection was never taken over
    assert other.client.connections == connected
    at_workers.stop()
    at_devices.stop()
    other.close()


def test_client_id_takeover(site: Site) -> None:
    """A second device says it is the first: the broker goes by its certificate, and the first keeps its connection."""
    first = site.device("edge-1").open()
    second = Identity.load(site.authority.issue_device("region-1", "edge-9", destination=site.folder / "edge-9"))
    thief, got = joined(site, second, "edge-1.region-1")
    until(lambda: thief.is_connected)
    thief.publish(topics.up("edge-1.region-1", "case"), b"forged")
    _send_until_receipted(first, 1)
    until(first.answers)
    assert first.client.connections == 1
    assert [payload for payload in got if payload != first.key] == []
    assert site.status()["dropped"] == {}
    thief.stop()
    first.close()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerSite]:
    made = BrokerSite(tmp_path_factory.mktemp("site"))
    made.broker.start()
    yield made
    made.broker.stop()


NAMES = ("+", "#", "edge-1/up", "+.region-1", "edge-1.region-1/#", "EDGE-1.region-1", "edge-1.region-1\n", "all")


@pytest.mark.parametrize("name", NAMES)
def test_slash_and_plus_in_names_that_a_stolen_authority_signed(broker: BrokerSite, tmp_path: Path, name: str) -> None:
    """Whoever stole a region's device authority signs any common name; as a topic filter it would be everybody's."""
    thief = signer(broker.authority, "devices/region-1")
    leaf, key = forge(thief, "terrace://edge-1.region-1.edge.acme/", name)
    pem = leaf.public_bytes(Encoding.PEM) + thief.certificate.public_bytes(Encoding.PEM)
    durable.write(tmp_path / "leaf.pem", pem)
    durable.write(tmp_path / "leaf.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    context = tls.client_context(broker.edge, server_tier="region")
    context.load_cert_chain(tmp_path / "leaf.pem", tmp_path / "leaf.key")
    heard = heard_by(broker, context)
    assert b"for edge-1" not in heard


def heard_by(broker: BrokerSite, context: ssl.SSLContext) -> list[bytes]:
    """What a client with this certificate hears and can make heard, if the broker lets it in at all."""
    if not connects(broker, context):
        return []
    got: list[bytes] = []
    at_intake: list[tuple[str, bytes]] = []
    worker = broker.client(broker.worker, lambda topic, payload: at_intake.append((topic, payload)), as_worker=True)
    worker.subscribe(topics.worker_filters(range(64)))
    worker.start()
    client = MqttClient(host="127.0.0.1", port=broker.settings.port, context=context, client_id="x", on_message=lambda _, p: got.append(p))
    client.subscribe(["#", "t/#", "t/+/down/+", topics.down_filter("edge-1.region-1"), "t/all/+"])
    client.start()
    try:
        until(lambda: client.is_connected and worker.is_connected, within_s=1.5)
        client.publish(topics.up("edge-1.region-1", "case"), b"forged")
        until(lambda: worker.publish(topics.down("edge-1.region-1", "msg"), b"for edge-1"))
        until(lambda: worker.publish(topics.REFRESH, b"fence"))
        until(lambda: b"fence" in got, within_s=1.5)
    except AssertionError:
        pass  # the broker closed its connection
    finally:
        client.stop()
        worker.stop()
    assert [topic for topic, _ in at_intake if topic.startswith("t/edge-1.region-1/")] == []
    return got


@pytest.mark.parametrize("name", [*NAMES[:7], "a" * 64, "", "edge.1"])
def test_slash_and_plus_in_names_are_never_issued(broker: BrokerSite, tmp_path: Path, name: str) -> None:
    with pytest.raises(TerraceError):
        broker.authority.issue_device("region-1", name, destination=tmp_path / "x")
    assert not (tmp_path / "x").exists()
