"""`terrace link doctor` where one piece is broken: with a real broker, real TLS, and ports that misbehave."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.doctor.findings import Outcome, exit_code
from provisioning.pki import Authority, create_fleet
from shared.identity.store import Identity
from shared.identity.tls import people_context
from tests.proxies import ConnectProxy
from tests.unit.doctor_parts import Place, black_hole, listening, outcomes, tls_server
from tests.waiting import until

DAY_S = 86400.0
AFTER_TCP = ["tls", "certificate", "access", "region", "round trip", "throughput"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("place"))
    yield made.start()
    made.stop()


def aged(place: Place, days: float) -> Authority:
    """The fleet's authority as it was so many days ago."""
    return Authority.open(place.site.authority.folder, now=lambda: time.time() - days * DAY_S)


def test_a_sound_link_is_found_sound(place: Place) -> None:
    found = place.examine()
    assert outcomes(found, Outcome.OK) == list(found)
    assert exit_code(list(found.values())) == 0
    assert "no agent runs" in found["access"].found
    assert "ms" in found["round trip"].found


def test_a_name_that_nobody_knows(place: Place) -> None:
    found = place.examine(host="no-such-machine.invalid")
    assert found["names"].outcome is Outcome.WRONG
    assert "no-such-machine.invalid" in found["names"].found
    assert outcomes(found, Outcome.SKIPPED) == ["tcp", *AFTER_TCP]
    assert found["clock"].outcome is found["relay"].outcome is Outcome.OK
    assert exit_code(list(found.values())) == 14


def test_a_port_where_nobody_listens(place: Place) -> None:
    found = place.examine(port=1)
    assert "nobody listens" in found["tcp"].found
    assert "terrace region status" in found["tcp"].remedy
    assert outcomes(found, Outcome.SKIPPED) == AFTER_TCP


def test_a_firewall_that_drops(place: Place) -> None:
    with black_hole() as port:
        found = place.examine(port=port)
    assert "does not answer within 1.5 s" in found["tcp"].found
    assert "firewall" in found["tcp"].remedy
    assert outcomes(found, Outcome.SKIPPED) == AFTER_TCP


def test_a_machine_that_takes_the_connection_and_says_nothing(place: Place) -> None:
    with listening() as port:
        found = place.examine(port=port)
    assert found["tcp"].outcome is Outcome.OK
    assert "says nothing" in found["tls"].found
    assert outcomes(found, Outcome.SKIPPED) == AFTER_TCP[1:]


def test_a_service_that_speaks_something_else(place: Place) -> None:
    with listening(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        found = place.examine(port=port)
    assert "does not speak TLS" in found["tls"].found
    assert found["tls"].exit_code == 14


def test_a_middle_box_that_closes_the_handshake(place: Place) -> None:
    with listening(lambda connection: connection.recv(4096)) as port:
        found = place.examine(port=port)
    assert "in the middle of the handshake" in found["tls"].found


def test_an_old_proxy_without_tls_1_3(place: Place, tmp_path: Path) -> None:
    with listening(tls_server(place.site.region.certificate_path, place.site.region.key_path, oldest=True)) as port:
        found = place.examine(port=port)
    assert "TLS 1.3" in found["tls"].found


def test_a_proxy_that_opens_tls(place: Place, tmp_path: Path) -> None:
    people_context(tmp_path, ["127.0.0.1"], now=time.time())
    with listening(tls_server(tmp_path / "people.pem", tmp_path / "people.key.pem")) as port:
        found = place.examine(port=port)
    assert found["tls"].outcome is Outcome.OK
    assert "not terrace's" in found["certificate"].found
    assert found["certificate"].exit_code == 12


def test_a_certificate_of_another_tier(place: Place, tmp_path: Path) -> None:
    cloud = Identity.load(place.site.authority.issue_cloud("cloud", ["127.0.0.1"], destination=tmp_path / "cloud"))
    with listening(tls_server(cloud.certificate_path, cloud.key_path)) as port:
        found = place.examine(port=port)
    assert "of the tier cloud (cloud.cloud), not of a region" in found["certificate"].found
    assert found["certificate"].exit_code == 12


def test_another_region_s_broker(place: Place, tmp_path: Path) -> None:
    other = Identity.load(place.site.authority.issue_region("region-2", "server", ["127.0.0.1"], destination=tmp_path / "other"))
    with listening(tls_server(other.certificate_path, other.key_path)) as port:
        found = place.examine(port=port)
    assert "is region-2's broker, this device belongs to region-1" in found["certificate"].found


def test_a_certificate_for_another_name(place: Place) -> None:
    found = place.examine(host="localhost")
    assert "not made for the name localhost" in found["certificate"].found


def test_an_expired_certificate_of_the_region(place: Place, tmp_path: Path) -> None:
    old = Identity.load(aged(place, 100.5).issue_region("region-1", "old", ["127.0.0.1"], destination=tmp_path / "old"))
    with listening(tls_server(old.certificate_path, old.key_path)) as port:
        found = place.examine(port=port)
    assert "the region's certificate (old.region-1) expired 10 days" in found["certificate"].found


def test_an_expired_certificate_of_the_device(place: Place, tmp_path: Path) -> None:
    old = Identity.load(aged(place, 31.5).issue_device("region-1", "edge-old", destination=tmp_path / "old"))
    found = place.examine(identity=old)
    assert "this device's certificate expired 1 day" in found["certificate"].found
    assert found["clock"].outcome is Outcome.UNKNOWN  # the relay refuses it before it tells the time
    assert exit_code(list(found.values())) == 12


@pytest.mark.parametrize(("off", "words"), [(-DAY_S, "1 day behind the region's"), (DAY_S, "1 day ahead of the region's")])
def test_a_clock_that_is_a_day_off_is_blamed_and_nothing_else(place: Place, off: float, words: str) -> None:
    found = place.examine(clock=lambda: time.time() + off)
    assert words in found["clock"].found
    assert "timedatectl" in found["clock"].remedy
    assert outcomes(found, Outcome.WRONG) == ["clock"]
    assert exit_code(list(found.values())) == 10


def test_without_a_relay_a_clock_from_before_the_certificate_is_noticed(place: Place) -> None:
    found = place.examine(clock=lambda: time.time() - 40 * DAY_S, relay_url="https://127.0.0.1:1")
    assert "not valid before" in found["clock"].found
    assert "nobody listens" in found["relay"].found


def test_a_device_whose_certificate_is_revoked(place: Place) -> None:
    lost = place.site.device("edge-lost")
    place.site.authority.revoke("edge-lost.region-1")
    place.site.broker.revoke([], crl=place.site.authority.crl("region-1"))
    until(lambda: place.examine(identity=lost)["certificate"].outcome is Outcome.WRONG)  # the broker reads it when it gets to it
    found = place.examine(identity=lost)
    assert "it is revoked" in found["certificate"].found
    assert found["certificate"].exit_code == 20
    assert outcomes(found, Outcome.SKIPPED) == AFTER_TCP[2:]


def test_a_device_that_is_revoked_by_name(place: Place) -> None:
    place.revoked.add("edge-1.region-1")
    place.site.broker.revoke(["edge-1.region-1"])
    try:
        found = place.examine()
    finally:
        place.revoked.clear()
        place.site.broker.revoke([])
    assert found["certificate"].outcome is Outcome.OK
    assert "edge-1.region-1 is revoked" in found["access"].found
    assert found["access"].exit_code == found["relay"].exit_code == 20
    assert outcomes(found, Outcome.SKIPPED) == ["region", "round trip", "throughput"]


def test_a_broker_that_shuts_a_device_out_while_the_region_does_not(place: Place) -> None:
    place.site.broker.revoke(["edge-1.region-1"])
    try:
        found = place.examine()
    finally:
        place.site.broker.revoke([])
    assert "access list shuts this device out" in found["access"].remedy
    assert found["relay"].outcome is Outcome.OK


def test_a_region_whose_revocation_list_has_expired_refuses_everybody(place: Place) -> None:
    place.site.broker.revoke([], crl=aged(place, 40).crl("region-1"))
    try:
        until(lambda: place.examine()["certificate"].outcome is Outcome.WRONG)
        found = place.examine()
    finally:
        place.site.broker.revoke([], crl=place.site.authority.crl("region-1"))
    assert "its own revocation list, has expired" in found["certificate"].found
    assert "terrace provision pki crl" in found["certificate"].remedy
    until(lambda: place.examine()["certificate"].outcome is Outcome.OK)


def test_a_device_of_another_fleet(place: Place, tmp_path: Path) -> None:
    other = create_fleet(tmp_path / "pki", "other")
    stranger = Identity.load(other.issue_device("region-1", "edge-1", destination=tmp_path / "stranger"))
    found = place.examine(identity=stranger)
    assert "belongs to the fleet acme, this device to other" in found["certificate"].found


def test_a_sound_link_through_a_proxy(place: Place) -> None:
    with ConnectProxy() as proxy:
        found = place.examine(proxy=proxy.url)
        assert f"through the proxy 127.0.0.1:{proxy.port}" in found["tcp"].found
    assert outcomes(found, Outcome.OK) == list(found)


@pytest.mark.parametrize(
    ("how", "words", "remedy"),
    [
        ({"says": b"HTTP/1.1 403 Forbidden\r\n\r\n"}, "403 Forbidden", "administrators"),
        ({"credentials": "dXNlcjpwYXNz"}, "wants a name and a password", "name:password"),
        ({"says": b"\x15\x03\x01\x00\x02\x02\x16"}, "does not answer like an HTTP proxy", "link.proxy"),
        ({"is_silent": True}, "does not answer in time", "link.proxy"),
    ],
)
def test_a_proxy_that_is_in_the_way(place: Place, how: dict[str, Any], words: str, remedy: str) -> None:
    with ConnectProxy(**how) as proxy:
        found = place.examine(proxy=proxy.url)
    assert words in found["tcp"].found
    assert remedy in found["tcp"].remedy
    assert outcomes(found, Outcome.SKIPPED) == AFTER_TCP


def test_a_proxy_that_is_not_there(place: Place) -> None:
    found = place.examine(proxy="http://127.0.0.1:1")
    assert "the proxy 127.0.0.1:1 cannot be reached" in found["tcp"].found
    assert "the proxy 127.0.0.1:1" in found["relay"].found
    named = place.examine(proxy="http://no-such-proxy.invalid:3128")
    assert "no-such-proxy.invalid" in named["names"].found
