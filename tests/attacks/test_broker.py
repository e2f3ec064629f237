"""A broker that forges: it has the region's place on the wire, every message it ever carried, and certificates of the fleet that are not
the region's. A real device on a real broker believes none of it, counts it, and goes on with what the region truly says."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.identity.store import Identity
from shared.link.mqtt import MqttClient
from shared.wire import topics
from shared.wire.announce import new_key, sign_announcement
from shared.wire.envelope import Sealer
from shared.wire.keys import EpochKeys
from shared.wire.messages import Answer, Command, Credit, KeyAnnouncement, Kind, Prediction, Receipt, encode
from tests.brokers import Site
from tests.regions import SmallRegion
from tests.unit.region_parts import Device as Speaker
from tests.unit.test_uplink import EDGE, Device, case
from tests.waiting import until

EVERYTHING = ((0, 1 << 62),)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.broker.start()
    yield site
    site.broker.stop()


@pytest.fixture
def region(site: Site) -> Iterator[SmallRegion]:
    region = SmallRegion(site).start()
    until(lambda: region.client.is_connected, "the region is connected")
    region.announce()
    yield region
    region.client.publish(topics.KEY_ANNOUNCEMENT, b"", retain=True)
    region.stop()


@pytest.fixture
def forger(site: Site) -> Iterator[MqttClient]:
    """A connection with the broker's power: it may publish to every device and to all."""
    identity = Identity.load(site.folder / "worker")
    client = site.client(identity, lambda *_: None, as_worker=True)
    client._client_id = "forger"
    client.start()
    until(lambda: client.is_connected)
    yield client
    client.stop()


@pytest.fixture
def device(site: Site, tmp_path: Path) -> Iterator[Device]:
    device = Device(site, tmp_path).start()
    yield device
    device.stop()


def messages(device: Device) -> list[tuple[Kind, bytes]]:
    """A receipt for all, an answer, credit without end, and a command."""
    spool, prediction = device.spool.spool_id, Prediction(index=6, probabilities=(1.0,))
    return [
        (Kind.RECEIPT, encode(Receipt(vault_id="vault-a", spool_id=spool, ranges=EVERYTHING, credit=1 << 40))),
        (Kind.ANSWER, encode(Answer(spool_id=spool, sequence=1, prediction=prediction, expert_release=9, at=time.time()))),
        (Kind.CREDIT, encode(Credit(limit=1 << 40))),
        (Kind.COMMAND, encode(Command(name="audit-share", argument="0"))),
    ]


def forgeries(device: Device, region: SmallRegion) -> list[bytes]:
    """The messages as a forger can make them: bare, under keys it made up, and true envelopes with their parts changed."""
    accepted, _, sealer, _ = next(reversed(region.epochs.values()))
    made_up = Sealer(EpochKeys.from_prk(os.urandom(32)), epoch=accepted.epoch_id, suite=1, instance=7)
    said = messages(device)
    bare = [body for _, body in said]
    sealed = [made_up.seal(kind, body) for kind, body in said]
    true = sealer.seal(Kind.CREDIT, encode(Credit(limit=2)))  # as it might have been recorded, and not delivered
    turned = [true[:2] + bytes([kind]) + true[3:] for kind in (Kind.RECEIPT, Kind.ANSWER, Kind.COMMAND)]
    return [*bare, *sealed, *turned, true[:-1], true + b"x", b""]


def test_a_forged_receipt_answer_credit_and_command(site: Site, region: SmallRegion, forger: MqttClient, device: Device) -> None:
    region.receipts_on = region.answers_on = False
    device.uplink.offer(case(1), False, 0.5)
    device.wait(lambda: region.received, "sent")
    region.credit_on = False
    forged = forgeries(device, region)
    for payload in forged:
        until(lambda p=payload: forger.publish(topics.down(EDGE, "msg"), p))
    device.wait(lambda: device.uplink.status()["dropped"].get("protocol", 0) >= len(forged), "all dropped and counted")
    assert device.spool.occupancy()[0] == 1  # no forged receipt deleted it
    assert device.answers == []
    region.receipts_on = region.answers_on = region.credit_on = True
    device.uplink.offer(case(2), False, 0.5)
    device.wait(lambda: device.spool.occupancy()[0] == 0 and device.answers, "the region is believed as before")


def test_what_was_said_to_another_or_said_before(site: Site, region: SmallRegion, forger: MqttClient, device: Device) -> None:
    """Words the region itself sealed: those for another device, and this device's own once more."""
    recorded: list[bytes] = []
    publish = region.client.publish

    def carried(topic: str, payload: bytes, **more: bool) -> bool:
        recorded.extend([payload] if topic == topics.down(EDGE, "msg") else [])
        return publish(topic, payload, **more)

    region.client.publish = carried  # type: ignore[method-assign]
    device.uplink.offer(case(1), False, 0.5)
    device.wait(lambda: device.spool.occupancy()[0] == 0 and device.answers, "stored and answered")
    region.receipts_on = region.answers_on = region.credit_on = False
    sequence = device.uplink.offer(case(2), False, 0.5)
    device.wait(lambda: sequence in region.received, "sent")
    other = Speaker(site.device("edge-2"), site.region)
    speaker = site.client(other.identity, lambda *_: None)
    speaker.start()
    opening = other.open(region.announcement(new=False))
    until(lambda: speaker.publish(*opening) and (other.name, other.opening.epoch_id) in region.epochs)
    theirs = region.epochs[other.name, other.opening.epoch_id][2]
    repeated = [*recorded, *(theirs.seal(kind, body) for kind, body in messages(device))]
    for payload in repeated:
        until(lambda p=payload: forger.publish(topics.down(EDGE, "msg"), p))
    device.wait(lambda: device.uplink.status()["dropped"].get("protocol", 0) >= len(repeated), "all dropped and counted")
    assert (device.spool.occupancy()[0], len(device.answers)) == (1, 1)
    speaker.stop()


def announcement(signer: Identity, **changes: object) -> bytes:
    """A key announcement of the forger's own key, signed by whatever certificate it has."""
    now = int(time.time())
    values = {"region": "region-1", "vault_id": "vault-a", "key_id": "mine", "kem": "x25519", "public": new_key()[1]}
    values |= {"not_before": now - 60, "not_after": now + 86400, "serial": 1 << 40}
    return sign_announcement(KeyAnnouncement(**{**values, **changes}), signer.sign, signer.chain)  # type: ignore[arg-type]


FORGED: dict[str, Callable[[Site], bytes]] = {
    "signed by a device": lambda site: announcement(site.edge),
    "signed by a device called as the region": lambda site: announcement(site.device("server")),
    "signed by another region": lambda site: announcement(_machine(site, "region-2", "server")),
    "signed by another region, for itself": lambda site: announcement(_machine(site, "region-2", "other"), region="region-2"),
    "for too long": lambda site: announcement(site.region, not_after=int(time.time()) + 30 * 86400),
    "over": lambda site: announcement(site.region, not_before=int(time.time()) - 86400, not_after=int(time.time()) - 60),
    "of an older serial": lambda site: announcement(site.region, serial=0),
    "of no kem we know": lambda site: announcement(site.region, kem="none"),
    "changed": lambda site: announcement(site.region).replace(b"mine", b"mind", 1),
    "cut off": lambda site: announcement(site.region)[:-10],
    "nothing": lambda site: b"\xc0",
}


def _machine(site: Site, region: str, name: str) -> Identity:
    folder = site.folder / f"{name}.{region}"
    return Identity.load(folder if folder.exists() else site.authority.issue_region(region, name, [], destination=folder))


def test_a_forged_key_announcement(site: Site, region: SmallRegion, forger: MqttClient, device: Device) -> None:
    device.wait(lambda: device.uplink.status()["connected"], "open")
    opened, key = region.opens, device.uplink.audit_key()
    for number, make in enumerate(FORGED.values(), 1):
        payload = make(site)
        until(lambda p=payload: forger.publish(topics.KEY_ANNOUNCEMENT, p, retain=True))
        device.wait(lambda n=number: sum(device.uplink.status()["dropped"].values()) >= n, f"{number} refused")
    assert (device.uplink.audit_key(), region.opens) == (key, opened)  # no epoch was opened towards the forger
    device.uplink.offer(case(1), False, 0.5)
    device.wait(lambda: device.spool.occupancy()[0] == 0, "the region is spoken to as before")


def test_hints_without_end(site: Site, region: SmallRegion, forger: MqttClient, device: Device) -> None:
    """Hints are not authentic: a thousand of them cost a device one look at the announcement in five seconds."""
    device.wait(lambda: device.uplink.status()["connected"], "open")
    opens = region.opens
    for number in range(1000):
        until(lambda n=number: forger.publish(topics.down(EDGE, "hint"), (b"epoch", b"key", b"x" * n)[n % 3]))
    device.uplink.offer(case(1), False, 0.5)
    device.wait(lambda: device.spool.occupancy()[0] == 0, "it goes on")
    assert region.opens - opens <= 2
