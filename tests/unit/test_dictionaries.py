"""The way of a dictionary: learned in the region, announced, fetched by a device over mutual TLS, used both ways."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edge.main import relay_dictionary
from edge.uplink import Uplink, UplinkSettings
from region.fleet import Fleet
from region.lexicon import Lexicon, learn_telemetry, recent_path
from shared.errors import LinkError
from shared.identity.store import Identity
from shared.link.https import HttpsClient
from shared.link.spool import NewCase, Spool
from shared.wire.messages import Kind, StreamCounts, Telemetry, encode
from tests.waiting import until

from .region_parts import a_case, colour
from .test_region_main import Site, command


def telemetry(number: int = 0) -> Telemetry:
    counts = StreamCounts(stream="line", frames=number * 20, dropped=0, kept=number * 18, deferred=number, audited=number // 2)
    return Telemetry(at=1.8e9 + number * 2.003, floor=0, release=3, update_state="idle", streams=(counts,), spool_cases=0, spool_bytes=0)


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("r"))
    yield site
    site.stop()


class Edge:
    """A device's uplink with its relay, against the site's region."""

    def __init__(self, site: Site, folder: Path) -> None:
        site.authority.issue_device("region-1", "edge-1", destination=folder / "identity")
        self.identity = Identity.load(folder / "identity")
        self.relay = HttpsClient(self.identity, f"https://localhost:{site.ports[2]}")
        self.spool = Spool(folder / "spool.db", folder / "spool.key", 1 << 24)
        self.uplink = Uplink(
            settings=UplinkSettings(host="localhost", port=site.ports[0]), identity=self.identity, spool=self.spool, state=folder,
            telemetry=telemetry, on_answer=lambda answer: None,
            fetch_dictionaries={"region-1": lambda digest: relay_dictionary(self.relay, digest)},
        )  # fmt: skip
        self.spool.start()
        self.uplink.start()

    def send(self, first: int, count: int) -> float:
        """Send cases and wait for their receipts; returns the bytes that left per case."""
        before, received = self.uplink.status()["bytes_sent"], self.uplink.status()["receipts"]
        self.uplink.offer_many([NewCase(payload=encode(a_case(n, picture=colour(n % 250, 0)))) for n in range(first, first + count)])
        until(lambda: self.uplink.status()["receipts"] == received + count, f"{self.uplink.status()}")
        return float(self.uplink.status()["bytes_sent"] - before) / count

    def stop(self) -> None:
        self.uplink.stop()
        self.spool.stop()


def test_a_device_fetches_what_its_region_has_learned_and_both_speak_shorter(site: Site, tmp_path: Path) -> None:
    site.start()
    edge = Edge(site, tmp_path)
    before = edge.send(0, 80)
    learned = command("dictionary", "train", "--config", str(site.config), "--json")
    assert "too few" in learned["telemetry"], "a minute has not gone by"
    digest = learned["detections"]["digest"]
    assert [one["digest"] for one in command("dictionary", "list", "--config", str(site.config), "--json")] == [digest]
    until((tmp_path / "dictionaries" / f"{digest}.zdict").exists)
    after = edge.send(100, 80)
    assert after < 0.8 * before
    assert not site.status()["dropped"]
    with pytest.raises(LinkError, match="404"):
        relay_dictionary(edge.relay, "00" * 32)
    edge.stop()


def test_telemetry_is_kept_to_learn_from(tmp_path: Path) -> None:
    fleet = Fleet()
    for number in range(200):
        fleet.telemetry("edge-1.region-1", telemetry(number))
    Lexicon(tmp_path, fleet).save()
    saved = msgspec.msgpack.decode(recent_path(tmp_path).read_bytes(), type=list[bytes])
    assert saved[0] == encode(telemetry(0))
    assert recent_path(tmp_path).stat().st_mode & 0o077 == 0
    assert learn_telemetry(tmp_path).kinds == (Kind.TELEMETRY,)


def test_a_region_that_lost_a_dictionary_says_so_and_is_spoken_to_without(site: Site, tmp_path: Path) -> None:
    site.start()
    edge = Edge(site, tmp_path)
    edge.send(0, 80)
    digest = command("dictionary", "train", "--config", str(site.config), "--json")["detections"]["digest"]
    until((tmp_path / "dictionaries" / f"{digest}.zdict").exists)
    edge.send(100, 10)
    site.stop()
    (site.settings.state / "dictionaries" / f"{digest}.zdict").unlink()
    site.start()
    edge.send(200, 10)
    edge.stop()
