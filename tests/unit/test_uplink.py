"""The uplink on a real broker against a small region: nothing acknowledged is lost, nothing unauthentic is believed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.uplink import Uplink, UplinkSettings
from shared.link.recount import recount
from shared.link.spool import RETRY_S, NewCase, Spool
from shared.wire import topics
from shared.wire.envelope import Sealer
from shared.wire.keys import EpochKeys
from shared.wire.messages import Answer, Case, Command, Credit, Kind, Picture, Prediction, Receipt, Telemetry, UpdateReport, encode
from tests.brokers import Site
from tests.regions import SmallRegion
from tests.waiting import until

EDGE = "edge-1.region-1"


def case(frame: int, size: int = 2000) -> bytes:
    return encode(
        Case(
            stream="line",
            frame=frame,
            unit=f"board-{frame}",
            captured_at=1.0,
            reason="margin",
            is_audit=False,
            score=0.1,
            threshold=0.5,
            release=1,
            prediction=Prediction(index=0, probabilities=(1.0,)),
            picture=Picture(codec="webp", width=96, height=96, data=os.urandom(size)),
        )
    )


def telemetry() -> Telemetry:
    return Telemetry(at=time.time(), floor=0, release=3, update_state="idle", streams=(), spool_cases=0, spool_bytes=0)


class Device:
    """An uplink with its spool in a folder."""

    def __init__(self, site: Site, folder: Path, **more: Any) -> None:
        self.folder = folder
        self.answers: list[Answer] = []
        self.refreshed: list[bool] = []
        self.spool = Spool(folder / "spool.db", folder / "spool.key", 64 << 20)
        self.uplink = Uplink(
            settings=UplinkSettings(host="127.0.0.1", port=site.settings.port, suite=more.pop("suite", 1)),
            identity=site.edge,
            spool=self.spool,
            state=folder,
            telemetry=telemetry,
            on_answer=self.answers.append,
            on_refresh=lambda: self.refreshed.append(True),
            **more,
        )

    def start(self) -> Device:
        self.spool.start()
        self.uplink.start()
        return self

    def stop(self) -> None:
        self.uplink.stop()
        self.spool.stop()

    def wait(self, condition: Callable[[], object], what: str) -> None:
        until(condition, f"{what}; {self.uplink.status()}")


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
    yield region
    region.client.publish(topics.KEY_ANNOUNCEMENT, b"", retain=True)
    region.stop()


@pytest.fixture
def device(site: Site, tmp_path: Path) -> Iterator[Device]:
    device = Device(site, tmp_path)
    yield device
    device.stop()


@pytest.mark.parametrize("suite", [1, 2, 3])
def test_cases_go_up_are_stored_answered_and_deleted(site: Site, region: SmallRegion, tmp_path: Path, suite: int) -> None:
    region.announce()
    device = Device(site, tmp_path, suite=suite).start()
    sizes = [10, 2000, 40_000, 200_000] * 5
    sent = {device.uplink.offer(case(frame, size), frame % 4 == 0, 0.5): frame for frame, size in enumerate(sizes)}
    device.wait(lambda: len(device.answers) == 20 and device.spool.occupancy() == (0, 0), "all stored, answered and deleted")
    assert {sequence: found.frame for (_, _, sequence), found in region.vault.items()} == sent
    assert {answer.sequence: answer.prediction.index for answer in device.answers} == {s: f % 7 for s, f in sent.items()}
    status = device.uplink.status()
    assert (status["connected"], status["cases_sent"], status["receipts"], status["answers"]) == (True, 20, 20, 20)
    assert status["bytes_sent"] > 5 * 242_000
    assert 0 < status["round_trip_ms"] < 2000
    assert sorted(region.received) == sorted(sent), "each once"
    device.stop()
    counts = recount(tmp_path / "spool.db")
    assert (counts.spooled, counts.received, counts.waiting_count) == (20, 20, 0)


def test_what_waited_while_the_region_was_away_goes_when_it_comes(region: SmallRegion, device: Device) -> None:
    device.start()
    for frame in range(5):
        device.uplink.offer(case(frame), False, 0.5)
    device.wait(lambda: device.uplink._lanes["region-1"].is_connected, "connected to the broker")
    assert not device.uplink.status()["connected"]
    region.announce()
    device.wait(lambda: device.spool.occupancy()[0] == 0, "all stored")


def test_no_receipt_no_deletion(region: SmallRegion, device: Device) -> None:
    region.receipts_on = False
    region.announce()
    device.start()
    sequence = device.uplink.offer(case(1), False, 0.5)
    device.wait(lambda: region.received and device.answers, "sent and answered")
    assert device.spool.occupancy()[0] == 1, "an answer is no receipt, and neither is the broker's"
    region.receipts_on = True
    device.wait(lambda: device.spool.occupancy()[0] == 0, "sent again after the time-out")
    assert region.received.count(sequence) >= 2


def test_receipts_that_are_not_authentic_or_not_for_this_spool_delete_nothing(region: SmallRegion, device: Device) -> None:
    region.receipts_on = region.answers_on = False
    region.announce()
    device.start()
    device.uplink.offer(case(1), False, 0.5)
    device.wait(lambda: region.received, "sent")
    found = next(reversed(region.epochs.values()))
    spool_id = device.spool.spool_id
    everything = ((0, 1 << 62),)
    for vault_id, spool in (("vault-b", spool_id), ("vault-a", bytes(16))):
        region.say(EDGE, found, Kind.RECEIPT, Receipt(vault_id=vault_id, spool_id=spool, ranges=everything, credit=1))
    prediction = Prediction(index=0, probabilities=(1.0,))
    region.say(EDGE, found, Kind.ANSWER, Answer(spool_id=bytes(16), sequence=1, prediction=prediction, expert_release=1, at=0.0))
    forged = Sealer(EpochKeys.from_prk(bytes(32)), epoch=found[0].epoch_id, suite=1, instance=5)
    true = encode(Receipt(vault_id="vault-a", spool_id=spool_id, ranges=everything, credit=1))
    region.client.publish(topics.down(EDGE, "msg"), forged.seal(Kind.RECEIPT, true))
    region.client.publish(topics.down(EDGE, "msg"), b"garbage")
    region.client.publish(topics.down(EDGE, "msg"), true)
    replayed = found[2].seal(Kind.CREDIT, encode(Credit(limit=3)))
    region.client.publish(topics.down(EDGE, "msg"), replayed)
    region.client.publish(topics.down(EDGE, "msg"), replayed)
    device.wait(lambda: device.uplink.status()["dropped"].get("protocol", 0) >= 4, "four are dropped and counted")
    assert device.uplink.status()["dropped"]["receipt of another vault or spool"] == 2
    assert device.spool.occupancy()[0] == 1
    assert not device.answers


def test_a_new_key_or_vault_opens_a_new_epoch_and_loses_nothing(region: SmallRegion, device: Device) -> None:
    region.announce()
    device.start()
    device.wait(lambda: device.uplink.status()["connected"], "open")
    key = device.uplink.audit_key()
    region.vault_id, region.receipts_on = "vault-b", False
    device.uplink.offer(case(1), False, 0.5)
    device.wait(lambda: region.received, "sent under the old epoch")
    region.receipts_on = True
    region.announce()
    device.wait(lambda: device.spool.occupancy()[0] == 0, "sent again under the new one")
    assert device.uplink.audit_key() != key


def test_a_region_that_forgot_the_epoch_is_opened_again(region: SmallRegion, device: Device) -> None:
    region.announce()
    device.start()
    device.wait(lambda: device.uplink.status()["connected"], "open")
    region.epochs.clear()
    device.uplink.offer(case(1), False, 0.5)
    device.wait(lambda: device.spool.occupancy()[0] == 0, "the hint makes the device open again")
    assert region.opens == 2


def test_an_old_announcement_is_refused_also_after_a_restart(site: Site, region: SmallRegion, tmp_path: Path) -> None:
    old = region.announcement()
    region.announce()
    first = Device(site, tmp_path).start()
    first.wait(lambda: first.uplink.status()["connected"], "open")
    first.stop()
    region.client.publish(topics.KEY_ANNOUNCEMENT, old, retain=True)
    second = Device(site, tmp_path).start()
    second.wait(lambda: second.uplink.status()["dropped"].get("announcement"), "refused")
    assert not second.uplink.status()["connected"]
    second.stop()


def test_the_relay_gives_the_announcement_when_the_broker_withholds_it(site: Site, region: SmallRegion, tmp_path: Path) -> None:
    device = Device(site, tmp_path, fetch_key=region.announcement).start()
    device.uplink.offer(case(1), False, 0.5)
    device.wait(lambda: device.spool.occupancy()[0] == 0, "opened with the relay's word")
    device.stop()


def test_telemetry_carries_the_floor_and_reports_are_said_until_heard(site: Site, region: SmallRegion, tmp_path: Path) -> None:
    report = UpdateReport(at=1.0, model="student", release=2, from_release=1, state="committed", reason="")
    first = Device(site, tmp_path).start()
    first.uplink.report(report)
    first.stop()
    region.announce()
    region.receipts_on = False
    device = Device(site, tmp_path).start()
    sequences = [device.uplink.offer(case(frame), False, 0.5) for frame in range(3)]
    device.wait(lambda: region.reports == [report], "the report of the earlier process")
    device.wait(lambda: any(found.spool_cases == 3 for found in region.telemetry), "telemetry")
    last = [found for found in region.telemetry if found.spool_cases == 3][-1]
    assert (last.floor, last.release) == (sequences[0], 3)
    device.stop()


def test_a_refresh_is_passed_on(region: SmallRegion, device: Device) -> None:
    device.start()
    device.wait(lambda: device.uplink._lanes["region-1"].is_connected, "connected")
    until(lambda: region.client.publish(topics.REFRESH, b"") and device.refreshed, "passed on")


def test_a_command_is_passed_on_and_an_unknown_one_counted(region: SmallRegion, site: Site, tmp_path: Path) -> None:
    heard: list[Command] = []

    def take(command: Command) -> bool:
        heard.append(command)
        return command.name == "audit-share"

    device = Device(site, tmp_path, on_command=take)
    region.announce()
    device.start()
    device.wait(lambda: region.epochs, "an epoch")
    found = next(iter(region.epochs))
    for name in ("audit-share", "dance"):
        region.say(found[0], region.epochs[found], Kind.COMMAND, Command(name=name, argument="0.25"))
    device.wait(lambda: len(heard) == 2, "both commands")
    device.wait(lambda: device.uplink.status()["dropped"].get("command") == 1, "one counted")
    device.stop()


CHILD = """
import sys, time
from pathlib import Path
from shared.identity.store import Identity
from edge.uplink import Uplink, UplinkSettings
from shared.link.spool import Spool
from shared.wire.messages import Telemetry
from tests.unit.test_uplink import case, telemetry
from shared import log
import os
log.configure()
identity, folder, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
spool = Spool(folder / "spool.db", folder / "spool.key", 1 << 30)
spool.start()
uplink = Uplink(settings=UplinkSettings(host="127.0.0.1", port=port), identity=Identity.load(identity), spool=spool,
                state=folder, telemetry=telemetry, on_answer=lambda answer: None)
uplink.start()
for frame in range(int(sys.argv[4]), 1 << 30):
    sequence = uplink.offer(case(frame), False, 0.5)
    os.write(1, b"%d %d\\n" % (sequence, frame))
"""


def test_kill_9_of_device_and_broker_loses_nothing_acknowledged(tmp_path: Path) -> None:
    site = Site(tmp_path / "site")
    site.broker.start()
    region = SmallRegion(site).start()
    until(lambda: region.client.is_connected, "the region is connected")
    region.announce()
    folder = tmp_path / "edge"
    acknowledged: dict[int, int] = {}
    for round_ in range(2):
        command = [sys.executable, "-c", CHILD, str(site.edge.folder), str(folder), str(site.settings.port), str(round_ * 10_000)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(60)]
        if round_ == 0:
            os.kill(site.broker.pid, signal.SIGKILL)
            connections = region.client.connections
            lines += [child.stdout.readline() for _ in range(60)]
            until(lambda connections=connections: region.client.connections > connections, "the region is back")
            region.client.publish(topics.KEY_ANNOUNCEMENT, region.announcement(), retain=True)
        child.kill()
        lines += child.stdout.readlines()
        child.wait()
        child.stdout.close()
        acknowledged |= {int(line.split()[0]): int(line.split()[1]) for line in lines if line.endswith(b"\n")}
    device = Device(site, folder).start()
    until(lambda: device.spool.occupancy()[0] == 0, "all that was left is stored", within_s=40)
    stored = {sequence: found.frame for (_, _, sequence), found in region.vault.items()}
    assert {sequence: stored.get(sequence) for sequence in acknowledged} == acknowledged
    device.stop()
    region.stop()
    site.broker.stop()


def test_on_a_failing_disk_cases_go_up_from_memory_and_the_region_hears_of_it(
    region: SmallRegion, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    region.announce()
    device.start()
    with monkeypatch.context() as broken:
        broken.setattr("shared.link.segments.os.fdatasync", fail)
        sequence = device.uplink.offer(case(1), False, 0.5)
        assert device.spool.state().memory_cases == 1
        device.wait(lambda: [found for found in region.telemetry if found.spool_in_memory], "telemetry that says so")
        device.wait(lambda: device.spool.occupancy()[0] == 0, "the case is stored by the region")
        assert sequence in {found for _, _, found in region.vault}
    device.spool.tend(RETRY_S)
    assert not device.spool.state().alarm
    later = device.uplink.offer(case(2), False, 0.5)
    device.wait(lambda: later in {found for _, _, found in region.vault}, "a durable case again")


def test_a_case_larger_than_its_share_is_not_taken_and_the_link_goes_on(region: SmallRegion, device: Device) -> None:
    region.announce()
    device.start()
    device.wait(lambda: device.uplink.status()["connected"], "open")
    assert device.uplink.offer_many([NewCase(payload=case(1)), NewCase(payload=bytes(64 << 20))])[1] is None, "larger than its share"
    device.wait(lambda: device.spool.occupancy()[0] == 0, "the other one is stored")
