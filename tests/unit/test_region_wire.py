"""What the region makes of frames, of filled messages, and of a configured key encapsulation."""

from __future__ import annotations

import time
from pathlib import Path

from region.keys import KeyRing
from region.recount import recount
from shared.identity.store import Identity
from shared.wire import padding
from shared.wire.envelope import OVERHEAD_BYTES, parse_header
from shared.wire.frame import Part
from shared.wire.kem import HYBRID, X25519
from shared.wire.messages import SCHEMA, Credit, Kind, StreamCounts, Telemetry, Terms, encode
from tests.waiting import until

from .region_parts import Device, Hall, a_case, opened, receipted


def telemetry() -> Telemetry:
    counts = StreamCounts(stream="line", frames=9, dropped=0, kept=8, deferred=1, audited=0)
    return Telemetry(at=1.0, floor=1, release=1, update_state="idle", streams=(counts,), spool_cases=1, spool_bytes=10)


def test_small_cases_and_telemetry_share_a_frame_and_each_has_its_effect(hall: Hall, device: Device) -> None:
    opened(hall, device, Terms(schema=SCHEMA))
    cases = [Part(kind=Kind.CASE, sequence=number, payload=encode(a_case(number))) for number in range(1, 9)]
    hall.worker.deliver(*device.frame([*cases, Part(kind=Kind.TELEMETRY, payload=encode(telemetry()))]))
    until(lambda: receipted(device, hall) == set(range(1, 9)))
    assert recount(hall.vault.database.path).cases_stored == 8
    assert hall.fleet.summary(now=time.time())[device.name]["telemetry"]["floor"] == 1


def test_a_frame_with_one_bad_message_is_dropped_whole(hall: Hall, device: Device) -> None:
    opened(hall, device, Terms(schema=SCHEMA))
    good = Part(kind=Kind.CASE, sequence=1, payload=encode(a_case(1)))
    hall.worker.deliver(*device.frame([good, Part(kind=Kind.CASE, sequence=2, payload=b"no case")]))
    until(lambda: hall.figures.dropped["payload"] == 1)
    hall.worker.deliver(*device.frame([Part(kind=Kind.CASE, sequence=1 << 63, payload=encode(a_case(1)))]))
    until(lambda: hall.figures.dropped["payload"] == 2)
    assert recount(hall.vault.database.path).cases_stored == 0


def test_a_frame_belongs_on_the_topic_of_cases(hall: Hall, device: Device) -> None:
    opened(hall, device, Terms(schema=SCHEMA))
    topic, sealed = device.frame([Part(kind=Kind.TELEMETRY, payload=encode(telemetry()))])
    hall.worker.deliver(topic.replace("/case", "/control"), sealed)
    until(lambda: hall.figures.dropped["header"] == 1)


def test_who_fills_messages_is_answered_in_filled_ones_also_after_a_restart(
    hall: Hall, device: Device, people: dict[str, Identity], tmp_path: Path
) -> None:
    opened(hall, device, Terms(schema=SCHEMA, is_padded=True))
    for message in device.case(1):
        hall.worker.deliver(*message)
    until(lambda: receipted(device, hall) == {1})
    hall.close()
    again = Hall(tmp_path, people["region"])
    for message in device.case(2):
        again.worker.deliver(*message)
    until(lambda: receipted(device, again) == {2})
    again.close()
    for _, sealed in (*hall.sent, *again.sent):
        assert parse_header(sealed).is_filled
        assert len(sealed) == padding.SMALLEST_BYTES + 1 + OVERHEAD_BYTES


def test_another_key_encapsulation_is_announced_at_the_next_start(hall: Hall, device: Device, people: dict[str, Identity]) -> None:
    before = hall.keys.announcement
    region = people["region"]
    hybrid = KeyRing(hall.vault, region="region-1", sign=region.sign, chain=region.chain, kem=HYBRID)
    assert hybrid.refresh(time.time())
    assert len(hybrid.private_keys) == 2, "who has not heard of it yet still opens with the key before"
    assert len(device.open(before)[1]) <= 2048
    topic, data = device.open(hybrid.announcement)
    assert 2048 < len(data) <= 3584
    hall.keys.refresh(time.time())  # the ring of the running region makes a classical key again
    assert {X25519, HYBRID} == {row[0] for row in hall.vault.database.rows("SELECT DISTINCT kem FROM keys")}
    hall.worker.deliver(topic, data)
    until(lambda: any(isinstance(message, Credit) for message in device.read(hall.sent)) or bool(hall.figures.dropped))
    assert not hall.figures.dropped
