"""Fail-over with real regions: brokers, intake, vaults and TLS; and which devices a region lets in for another."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.uplink import RegionAddress, Uplink, UplinkSettings
from provisioning.pki import Authority
from region import main
from region.config import FailOverSettings, RegionSettings
from region.database import Database
from region.guests import Guests
from region.recount import recount
from region.revocation import RevocationList
from region.vault import Outcome, Vault
from shared.config import load
from shared.identity.chain import verify_chain
from shared.identity.names import Peer
from shared.identity.store import Identity
from shared.identity.tls import client_context
from shared.link import route
from shared.link.spool import Spool
from shared.status import read_status
from shared.wire import topics
from shared.wire.envelope import Sealer
from shared.wire.messages import Kind, encode
from tests.brokers import Site, connects, free_port
from tests.unit.pki_fleet import HOSTS, fleet
from tests.unit.region_parts import Device as Speaker
from tests.unit.region_parts import Hall, a_case
from tests.unit.test_uplink import case, telemetry
from tests.unit.test_vault import YES, incoming
from tests.waiting import until


class Daemon:
    """One region's daemon, in a thread."""

    def __init__(self, folder: Path, authority: Authority, name: str) -> None:
        self.folder, self.name, self.config = folder / name, name, folder / name / "region.toml"
        authority.issue_region(name, "server", HOSTS, destination=self.folder / "server")
        authority.issue_region(name, "intake-0", [], destination=self.folder / "workers" / "intake-0")
        self.port = free_port()
        self.config.write_text(
            f'name = "{name}"\nfleet = "acme"\nstate = "state"\n[identity]\nfolder = "server"\nworkers = "workers"\n'
            f"[broker]\nport = {self.port}\nworker_port = {free_port()}\n[machines]\nport = {free_port()}\n[ops]\nport = {free_port()}\n"
        )
        self._stopped, self._thread = threading.Event(), threading.Thread()

    def admit(self, other: Daemon) -> None:
        files = f'authority = "../{other.name}/server/devices.pem"\ncrl = "../{other.name}/server/devices.crl.pem"\n'
        with self.config.open("a") as file:
            file.write(f'[[fail_over_for]]\nregion = "{other.name}"\n{files}')

    def start(self) -> Daemon:
        settings = load(self.config, RegionSettings)
        self._stopped.clear()
        self._thread = threading.Thread(target=main.serve, args=(settings, self.config), kwargs={"stopped": self._stopped})
        self._thread.start()
        until(settings.status_path.exists, f"{self.name} is up", within_s=20)
        until(lambda: read_status(settings.status_path), f"{self.name} answers", within_s=20)
        return self

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(20)

    @property
    def vault(self) -> Path:
        return self.folder / "state" / "vault.db"

    def parts(self) -> dict[int, str]:
        """What each stored sequence is used for."""
        database = Database(self.vault, "", read_only=True)
        database.start()
        rows = database.rows("SELECT sequence, part FROM cases")
        database.stop()
        return dict(rows)


@pytest.fixture
def regions(tmp_path: Path) -> Iterator[tuple[Daemon, Daemon, Identity]]:
    authority = fleet(tmp_path / "pki")
    north, south = Daemon(tmp_path, authority, "north"), Daemon(tmp_path, authority, "south")
    south.admit(north)
    north.start()
    south.start()
    yield north, south, Identity.load(authority.issue_device("north", "edge-1", destination=tmp_path / "edge-1"))
    north.stop()
    south.stop()


@pytest.mark.slow
def test_a_device_goes_to_the_other_region_and_home_again(
    regions: tuple[Daemon, Daemon, Identity], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "STEADY_S", 0.5)
    north, south, identity = regions
    spool = Spool(tmp_path / "edge" / "spool.db", tmp_path / "edge" / "spool.key", 64 << 20)
    away = RegionAddress(region="south", host="127.0.0.1", port=south.port)
    uplink = Uplink(
        settings=UplinkSettings(host="127.0.0.1", port=north.port, fail_over=(away,), fail_over_after_s=3.0),
        identity=identity, spool=spool, state=tmp_path / "edge", telemetry=telemetry, on_answer=lambda answer: None,
    )  # fmt: skip
    spool.start()
    uplink.start()
    at_home = [uplink.offer(case(frame), False, 0.5) for frame in range(5)]
    until(lambda: spool.occupancy()[0] == 0, f"stored at home: {uplink.status()}")
    north.stop()
    elsewhere = [uplink.offer(case(frame, 40_000), False, 0.5) for frame in range(5, 10)]
    until(lambda: spool.occupancy()[0] == 0, f"stored in the south: {uplink.status()}", within_s=20)
    status = uplink.status()
    assert (status["region"], status["route"], status["switches"], status["connected"]) == ("south", "away", 1, True)
    north.start()
    until(lambda: uplink.status()["route"] == "home", f"home again: {uplink.status()}", within_s=20)
    back = [uplink.offer(case(frame), False, 0.5) for frame in range(10, 15)]
    until(lambda: spool.occupancy()[0] == 0, f"stored at home: {uplink.status()}")
    uplink.stop()
    spool.stop()
    assert sorted(north.parts()) == sorted([*at_home, *back])
    assert sorted(south.parts()) == sorted(elsewhere)
    assert {recount(one.vault).cases_doubled for one in (north, south)} == {0}
    assert read_status(south.folder / "state" / "status.sock")["devices"]["edge-1.north"]["telemetry"], "the south knows its guest"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.authority.issue_region("region-2", "server", HOSTS, destination=site.folder / "other")
    site.broker.start()
    yield site
    site.broker.stop()


def guest_list(site: Site) -> FailOverSettings:
    folder = site.folder / "other"
    return FailOverSettings(region="region-2", authority=folder / "devices.pem", crl=folder / "devices.crl.pem")


def who(identity: Identity, site: Site) -> Peer:
    return verify_chain(identity.chain, anchors=site.region.anchors, tier="edge", now=time.time())


def test_only_devices_of_a_region_that_is_named_with_its_list_come_in(site: Site, tmp_path: Path) -> None:
    good, bad = site.device("edge-7", "region-2"), site.device("edge-8", "region-2")
    stranger = site.device("edge-7", "region-3")
    settings = guest_list(site)
    site.authority.revoke(bad.peer.common_name)
    settings.crl.write_bytes(site.authority.crl("region-2"))
    closed = RevocationList(tmp_path / "revoked.json", site.region)
    lists = RevocationList(tmp_path / "revoked.json", site.region, guests=Guests([settings], site.region))
    for one in (closed, lists):
        one.refresh()
    peers = [who(identity, site) for identity in (site.edge, good, bad, stranger)]
    assert [closed.admits(peer) for peer in peers] == [True, False, False, False]
    assert [lists.admits(peer) for peer in peers] == [True, True, False, False]
    assert lists.covers(peers[2].issuer, str(peers[2].serial)), "its live epochs end too"
    contexts = [client_context(identity, server_tier="region") for identity in (site.edge, good, bad, stranger)]
    assert [connects(site, context) for context in contexts] == [True, False, False, False]
    site.broker.revoke((), crl=lists.pem)
    until(lambda: connects(site, contexts[1]), "the broker lets the guest in")
    assert [connects(site, context) for context in contexts] == [True, True, False, False]


@pytest.mark.parametrize("damage", ["missing", "foreign", "another authority"])
def test_a_list_that_cannot_be_used_shuts_that_region_out_and_nobody_else(site: Site, tmp_path: Path, damage: str) -> None:
    settings = guest_list(site)
    guest = who(site.device(f"edge-{damage.replace(' ', '-')}", "region-2"), site)
    if damage == "missing":
        settings = FailOverSettings(region="region-2", authority=settings.authority, crl=tmp_path / "none.pem")
    elif damage == "foreign":
        other = fleet(tmp_path / "foreign", "acme")
        other.issue_region("region-2", "server", HOSTS, destination=tmp_path / "theirs")
        theirs = tmp_path / "theirs"
        settings = FailOverSettings(region="region-2", authority=theirs / "devices.pem", crl=theirs / "devices.crl.pem")
    else:
        settings = FailOverSettings(region="region-2", authority=site.region.folder / "devices.pem", crl=site.region.crl_path)
    lists = RevocationList(tmp_path / "revoked.json", site.region, guests=Guests([settings], site.region))
    lists.refresh()
    assert not lists.admits(guest)
    assert lists.admits(who(site.edge, site))


def test_a_case_held_for_another_region_is_kept_and_answered_and_used_for_nothing(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "vault.db")
    vault.start()
    noted: list[int] = []
    items = [incoming(number, unit=f"board-{number}", is_audit=number % 2 == 0) for number in range(1, 41)]
    held = [type(item)(**{name: getattr(item, name) for name in item.__struct_fields__} | {"is_held": True}) for item in items]
    stored = vault.store(held)
    assert {one.outcome for one in stored} == {Outcome.NEW}
    answers = [(one.id, YES) for one in stored]
    vault.store_answers(answers, release=1, now=5.0, note=lambda connection, fresh: noted.extend(fresh))
    assert (noted, vault.counters()["answered"]) == ([], 40)
    assert [len(list(vault.cases(split=split))) for split in ("train", "evaluation", "unused")] == [0, 0, 0]
    assert vault.parts() == {"elsewhere": 40}
    assert {one.outcome for one in vault.store(items)} == {Outcome.DUPLICATE}, "nor when it comes again as a case of this region"
    vault.stop()


def test_the_kind_of_a_held_case_reaches_the_vault(site: Site, tmp_path: Path) -> None:
    hall = Hall(tmp_path, site.region)
    speaker = Speaker(site.edge, site.region)
    hall.worker.deliver(*speaker.open(hall.keys.announcement))
    sealer: Sealer = speaker._sealer
    hall.worker.deliver(topics.up(speaker.name, "case"), sealer.seal(Kind.HELD_CASE, encode(a_case(7)), sequence=7))
    hall.worker.deliver(*speaker.case(8)[0])
    until(lambda: sum(hall.vault.counters().get(name, 0) for name in ("new",)) == 2, "both are stored")
    parts = dict(hall.vault.database.rows("SELECT sequence, part FROM cases"))
    assert parts[7] == "elsewhere"
    assert parts[8] != "elsewhere"
    hall.close()
