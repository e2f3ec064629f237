"""Key rotation between a real region (keys, epochs, intake, vault on disk) and a device that was not there when it happened."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge.lane import make_handshake
from region import cli
from region.keys import LIFETIME_S, OVERLAP_S
from shared.errors import ProtocolError
from shared.identity.store import Identity
from shared.link.conversation import Conversation
from shared.link.handshake import State
from shared.link.retention import Waiting
from shared.link.session import Session
from shared.wire import topics
from shared.wire.messages import Telemetry, encode
from tests.unit.pki_fleet import fleet, identities
from tests.unit.region_parts import Hall, a_case
from tests.waiting import until

DAY_S = 86400.0
SPOOL = os.urandom(16)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    folder = tmp_path_factory.mktemp("pki")
    return identities(folder / "identities", fleet(folder / "authority"))


@pytest.fixture
def hall(tmp_path: Path, people: dict[str, Identity]) -> Iterator[list[Hall]]:
    halls = [Hall(tmp_path, people["region"])]
    yield halls
    halls[-1].close()


class Device:
    """A device's real conversation; its two clocks are turned by hand."""

    def __init__(self, identity: Identity) -> None:
        self.name = identity.peer.common_name
        self.handshake = make_handshake(identity, 1)
        self.conversation = Conversation(handshake=self.handshake, session=Session(random=lambda: 0.5))
        self.conversation.begin((), spool_id=SPOOL, lowest_serial=0)
        self.spool: dict[int, bytes] = {}
        self.now, self.slept_s, self.read = 0.0, 0.0, 0

    def case(self, number: int) -> None:
        self.spool[number] = encode(a_case(number))
        self.conversation.offered([Waiting(sequence=number, size=len(self.spool[number]), is_audit=False, value=0.0)], evicted=())

    def announced(self, hall: Hall) -> None:
        self.conversation.announced(hall.keys.announcement, now=self.now, wall=time.time() + self.slept_s)

    def turn(self, hall: Hall) -> bool:
        """One turn of the loop: hear, renew, fetch the key if that is wanted, send; whether everything is stored."""
        self.now += 0.25
        sent, self.read = hall.sent[self.read :], len(hall.sent)
        for topic, payload in sent:
            if topic == topics.down(self.name, "hint"):
                self.conversation.hinted(self.now)
                continue
            try:
                stored, _ = self.conversation.heard(payload, now=self.now)
            except ProtocolError:
                continue  # of an epoch that is over
            for number in stored:
                del self.spool[number]
        wall = time.time() + self.slept_s
        self.conversation.renew(now=self.now, wall=wall)
        if self.conversation.wants_key(self.now):
            self.announced(hall)
        while (outgoing := self.conversation.next(self.now, read=self.spool.get, telemetry=self._telemetry)) is not None:
            hall.worker.deliver(topics.up(self.name, outgoing.kind), outgoing.data)
        return not self.spool

    def _telemetry(self) -> bytes:
        return encode(Telemetry(at=1.0, floor=0, release=1, update_state="", streams=(), spool_cases=0, spool_bytes=0))


def let_pass(halls: list[Hall], folder: Path, region: Identity, days: float) -> None:
    """The region lives through some days, rotates and destroys keys as they pass, and is started anew at their end."""
    hall = halls[-1]
    for day in range(1, int(days) + 1):
        hall.keys.refresh(time.time() + day * DAY_S)
    with hall.vault.database.transaction() as connection:
        connection.execute("UPDATE epochs SET opened_at = opened_at - ?", (days * DAY_S,))
    hall.close()
    halls.append(Hall(folder, region))


@pytest.mark.parametrize("is_suspended", [True, False], ids=["clock stood still", "clock went on"])
@pytest.mark.parametrize("was_open", [True, False], ids=["open", "still opening"])
def test_a_device_that_slept_through_rotations_comes_back_by_itself(
    hall: list[Hall], people: dict[str, Identity], tmp_path: Path, was_open: bool, is_suspended: bool
) -> None:
    device = Device(people["edge"])
    device.announced(hall[-1])
    if was_open:
        device.case(1)
        until(lambda: device.turn(hall[-1]), "stored before the night")
        assert device.handshake.state is State.OPEN
    before = device.handshake.serial
    let_pass(hall, tmp_path, people["region"], 16.0)
    device.read, device.slept_s = 0, 16 * DAY_S
    device.now += 0.0 if is_suspended else 16 * DAY_S
    device.case(2)
    until(lambda: device.turn(hall[-1]), f"stored after sixteen days: {device.handshake.state}")
    assert device.handshake.serial > before
    assert device.handshake.state is State.OPEN


def test_within_the_overlap_an_epoch_of_the_old_key_opens_and_later_it_does_not(
    hall: list[Hall], people: dict[str, Identity], tmp_path: Path
) -> None:
    device, later = Device(people["edge"]), Device(people["edge"])
    for one in (device, later):
        one.announced(hall[-1])
    hall[-1].keys.refresh(time.time() + LIFETIME_S - OVERLAP_S + 1)
    assert len(hall[-1].keys.private_keys) == 2
    device.case(1)
    until(lambda: device.turn(hall[-1]), "the old key still opens")
    hall[-1].keys.refresh(time.time() + LIFETIME_S + 1)
    assert len(hall[-1].keys.private_keys) == 1
    old = later.conversation.next(0.0, read=later.spool.get, telemetry=bytes)
    hall[-1].close()
    hall.append(Hall(tmp_path, people["region"]))
    hall[-1].worker.deliver(topics.up(later.name, "open"), old.data)
    until(lambda: (topics.down(later.name, "hint"), b"key") in hall[-1].sent, "the destroyed key is hinted at")


@pytest.mark.parametrize("destroy_old", [False, True])
def test_a_key_is_rotated_on_demand_while_the_region_runs(
    hall: list[Hall], people: dict[str, Identity], tmp_path: Path, destroy_old: bool
) -> None:
    device = Device(people["edge"])
    device.announced(hall[-1])
    device.case(1)
    until(lambda: device.turn(hall[-1]), "stored under the old key")
    config = tmp_path / "region.toml"
    config.write_text(f'name = "region-1"\nfleet = "acme"\nstate = "."\n[identity]\nfolder = "{people["region"].folder}"\nworkers = "w"\n')
    command = ["rotate-key", "--config", str(config), "--json", *(["--destroy-old"] if destroy_old else [])]
    said = CliRunner().invoke(cli.app, command)
    assert said.exit_code == 0, said.output
    assert hall[-1].keys.refresh(time.time()), "the running region has a new announcement"
    assert len(hall[-1].keys.private_keys) == (1 if destroy_old else 2)
    device.announced(hall[-1])
    assert device.handshake.serial == json.loads(said.output)["serial"]
    device.now += 6
    hall[-1].reception._devices.clear()  # a region takes one opening in five seconds of its own clock
    device.case(2)
    until(lambda: device.turn(hall[-1]), "stored under the new key")
