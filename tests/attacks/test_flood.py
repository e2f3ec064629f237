"""A million tiny messages: the flooder is dropped, disconnected and kept out, its neighbour is served, an operator lets it back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.audit import AuditLog
from shared.wire import topics
from tests.examples import LONG_RUN
from tests.unit.test_region_main import Online, Site, _send_until_receipted, command
from tests.waiting import until

MESSAGES = 1_000_000 if LONG_RUN else 5_000
LIMITS = "[limits]\nmessages_per_s = 200\npatience_s = 1\nquarantine_s = 3600\n"


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("r"))
    site.config.write_text(site.config.read_text() + LIMITS)
    site.start()
    yield site
    site.stop()


def acts(site: Site) -> list[str]:
    return [entry.action for entry in AuditLog(site.settings.audit_path).entries()]


def flood(online: Online, count: int) -> int:
    """Send tiny messages as fast as they go; returns how many went out before the broker closed the connection."""
    topic, connections = topics.up(online.device.name, "case"), online.client.connections
    for number in range(count):
        until(lambda: online.client.has_room(1) or online.client.connections != connections or not online.client.is_connected)
        if not online.client.publish(topic, number.to_bytes(4, "big")) and online.client.connections != connections:
            return number
    return count


def test_a_million_tiny_messages(site: Site) -> None:
    flooder, neighbour = site.device("edge-1").open(), site.device("edge-2").open()
    flood(flooder, MESSAGES)
    until(lambda: "edge-1.region-1" in site.status()["quarantined"])
    until(lambda: flooder.client.connections > 1)  # its connection was closed; it came back to a broker that denies it everything
    dropped = site.status()["dropped"]
    assert dropped["over_limit"] > 0
    assert site.status()["revoked"] == []
    neighbour.publish(*neighbour.device.case(1), *neighbour.device.case(2))
    until(lambda: neighbour.receipted() == {1, 2})
    assert "device.quarantined" in acts(site)
    assert neighbour.client.connections == 1
    until(lambda: flooder.client.is_connected)
    before = site.status()["messages"]
    flooder.publish(*flooder.device.case(1))
    neighbour.publish(*neighbour.device.case(3))
    until(lambda: neighbour.receipted() == {1, 2, 3})
    assert site.status()["messages"] <= before + 2  # the broker passes nothing of the flooder on
    assert "edge-1.region-1" in command("quarantine", "list", "--config", str(site.config), "--json")
    command("quarantine", "release", "edge-1.region-1", "--config", str(site.config), "--json")
    until(lambda: "edge-1.region-1" not in site.status()["quarantined"])
    until(lambda: flooder.client.is_connected)
    _send_until_receipted(flooder, 2)  # in the epoch of before: nothing else had changed
    for online in (flooder, neighbour):
        online.close()
