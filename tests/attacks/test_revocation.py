"""Revoked while connected, by name and by certificate, and a revocation list that has expired: the real daemon, broker and connections."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from provisioning.pki import Authority
from shared import durable
from shared.audit import AuditLog
from shared.identity.store import Identity
from shared.identity.tls import client_context
from shared.link.mqtt import MqttClient
from shared.wire import topics
from shared.wire.messages import Answer
from tests.unit.test_region_main import Online, Site, _send_until_receipted, command, http
from tests.waiting import until

WITHIN_S = 5.0
DAY_S = 86400.0
ONE = "edge-1.region-1"


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("r"))
    yield site
    site.stop()


def by_name(site: Site) -> None:
    command("revoke", ONE, "--config", str(site.config), "--reason", "stolen", "--json")


def by_certificate(site: Site) -> None:
    site.authority.revoke(ONE)
    durable.write(site.identity.crl_path, site.authority.crl("region-1"))


def is_silent(site: Site, online: Online, fence: Online, sequence: int) -> bool:
    """Whether what a device sends now does not come through any more, though another's message behind it does."""
    before = site.status()["cases_stored"], site.status()["dropped"]
    for topic, payload in online.device.case(sequence):
        online.client.publish(topic, payload)
    fence.publish(*fence.device.case(sequence))
    until(lambda: sequence in fence.receipted())
    after = site.status()["cases_stored"], site.status()["dropped"]
    return after == (before[0] + 1, before[1])


@pytest.mark.parametrize("revoke", [by_name, by_certificate])
def test_revoked_while_connected(site: Site, revoke: object) -> None:
    site.start()
    online, other = site.device("edge-1").open(), site.device("edge-2").open()
    online.publish(*online.device.case(1))
    other.publish(*other.device.case(1))
    until(lambda: len(online.answers()) == len(other.answers()) == 1)
    began = time.monotonic()
    revoke(site)  # type: ignore[operator]
    sequence = 1

    def silenced() -> bool:
        nonlocal sequence
        sequence += 1
        return is_silent(site, online, other, sequence)

    until(silenced, within_s=WITHIN_S, every_s=0.1)  # upwards: not even the broker passes it on
    assert time.monotonic() - began < WITHIN_S
    heard = len(online.got)
    until(lambda: len(other.answers()) == sequence)  # downwards: its neighbour has its answers, it has none
    assert [one for one in online.device.read(online.got[heard:]) if isinstance(one, Answer)] == []
    key = online.key = b""
    other.client.subscribe([topics.KEY_ANNOUNCEMENT])
    until(lambda: other.key)
    assert online.key == key  # nor what is said to all
    if revoke is by_name:
        entry = AuditLog(site.settings.audit_path).entries()[-1]
        assert (entry.action, entry.subject, entry.detail) == ("device.revoked", ONE, {"reason": "stolen"})
        command("revoke", ONE, "--config", str(site.config), "--undo", "--json")
        until(lambda: online.client.is_connected)
        _send_until_receipted(online, sequence + 1)
    else:
        assert not online.client.is_connected  # its certificate is refused
        site.authority.issue_device("region-1", "edge-1", destination=site.folder / "again")
        (site.folder / "edge-1").rename(site.folder / "old")
        (site.folder / "again").rename(site.folder / "edge-1")
        renewed = site.device("edge-1")  # the same name with a new certificate is another matter
        opening = renewed.device.open(renewed.key)
        until(lambda: 1 in renewed.receipted() or _says(renewed, opening), every_s=0.3)
        renewed.close()
    assert other.client.connections == 1
    online.close()
    other.close()


def _says(online: Online, opening: tuple[str, bytes]) -> bool:
    """Open and send, again and again: a device that was just heard is not opened another epoch for five seconds."""
    online.publish(opening, *online.device.case(1))
    return False


def test_an_expired_revocation_list(site: Site) -> None:
    old = Authority.open(site.folder / "pki", now=lambda: time.time() - 40 * DAY_S)  # a list lives 30 days
    durable.write(site.identity.crl_path, old.crl("region-1"))
    site.start()
    status = site.status()
    assert -11 < status["revocation_list_days_left"] < -9
    code, said = http(site.ports[3], "/readyz")
    assert code == 503
    assert "the revocation list has expired" in said
    outside = Identity.load(site.authority.issue_device("region-1", "edge-2", destination=site.folder / "edge-2"))
    context = client_context(outside, server_tier="region")
    client = MqttClient(
        host="localhost", port=site.ports[0], context=context, client_id="x", on_message=lambda *_: None, longest_backoff_s=0.2
    )
    client.start()
    until(lambda: client.last_error)
    assert client.connections == 0  # whom it may admit it cannot know, so it admits nobody
    durable.write(site.identity.crl_path, site.authority.crl("region-1"))
    online = site.device("edge-1").open()  # within a second or two, without a restart
    online.publish(*online.device.case(1))
    until(lambda: online.receipted() == {1})
    online.close()
    until(lambda: http(site.ports[3], "/readyz")[0] == 200)
    until(lambda: client.connections)
    client.stop()
