"""Stories between broker and vault: who is heard, what is receipted, what is answered, what a restart keeps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from region.experts.onnx import OnnxExpert
from region.recount import recount
from region.settlement import ranges_of
from region.vault import Incoming
from shared.errors import EngineError
from shared.identity.store import Identity
from shared.vision.frames import Pixels
from shared.wire import topics
from shared.wire.messages import Answer, Kind, Picture, Prediction, Receipt, UpdateReport, encode
from tests.waiting import until

from .region_parts import Device, Hall, a_case, an_expert, answers, colour, deliver, opened, receipted


def test_a_case_is_stored_receipted_and_answered(hall: Hall, device: Device, tmp_path: Path) -> None:
    hall.expert.install(an_expert(tmp_path))
    opened(hall, device)
    deliver(hall, *device.case(1, a_case(1, picture=colour(250, 0))), *device.case(2, a_case(2, picture=colour(0, 250), is_audit=True)))
    until(lambda: len(answers(device, hall)) == 2)
    assert receipted(device, hall) == {1, 2}
    assert {sequence: answer.prediction.index for sequence, answer in answers(device, hall).items()} == {1: 0, 2: 1}
    until(lambda: recount(hall.vault.database.path).cases_answered == 2)
    assert hall.figures.latency_ms(0.5) is not None


def test_a_case_in_many_chunks_is_one_case(hall: Hall, device: Device) -> None:
    opened(hall, device)
    big = Picture(codec="png", width=8, height=8, data=bytes(70_000))
    deliver(hall, *reversed(device.case(5, a_case(5, picture=big))))
    until(lambda: receipted(device, hall) == {5})
    assert hall.vault.unanswered()[0].case.picture == big


def test_nothing_is_stored_twice_and_a_lost_receipt_comes_again(hall: Hall, device: Device) -> None:
    opened(hall, device)
    first = device.case(1)
    deliver(hall, *first, *first)  # the network repeats an envelope
    until(lambda: hall.figures.dropped["replay"] == 1)
    hall.sent.clear()
    deliver(hall, *device.case(1))  # the device sends again what it got no receipt for
    until(lambda: receipted(device, hall) == {1})
    counted = recount(hall.vault.database.path)
    assert (counted.cases_stored, counted.cases_doubled) == (1, 0)
    until(lambda: hall.figures.cases_duplicate == 1)  # the receipt may have been the first one's, late


def test_another_payload_under_the_same_key_gets_no_receipt(hall: Hall, device: Device) -> None:
    opened(hall, device)
    deliver(hall, *device.case(1))
    until(lambda: receipted(device, hall) == {1})
    hall.sent.clear()
    deliver(hall, *device.case(1, a_case(1, unit="other")), *device.case(2))
    until(lambda: receipted(device, hall) == {2})
    assert hall.figures.dropped["conflict"] == 1


def test_what_cannot_be_believed_is_dropped_and_counted(hall: Hall, device: Device, people: dict[str, Identity]) -> None:
    stranger = Device(people["stranger"], people["region"])
    _, data = stranger.open(hall.keys.announcement)
    own_open = device.open(hall.keys.announcement)
    deliver(
        hall,
        (topics.up(device.name, "open"), data),  # another's opening on this topic
        ("t/nonsense", b""),
        (f"t/{device.name}/up/{(topics.shard_of(device.name) + 1) % 64:02d}/case", b"x"),
        (topics.up(device.name, "case"), b"short"),
        *device.case(1),  # the epoch is not open yet
    )
    until(lambda: sum(hall.figures.dropped.values()) == 5)
    assert hall.figures.dropped == {"open_identity": 1, "topic": 2, "header": 1, "unknown_epoch": 1}
    assert hall.sent == [(topics.down(device.name, "hint"), b"epoch")]
    deliver(hall, own_open)
    until(lambda: hall.figures.dropped["open_too_often"] == 1)
    assert recount(hall.vault.database.path).cases_stored == 0


def test_a_changed_envelope_is_not_authentic_and_spends_no_counter(hall: Hall, device: Device) -> None:
    opened(hall, device)
    topic, sealed = device.case(1)[0]
    deliver(hall, (topic, sealed[:-1] + bytes([sealed[-1] ^ 1])), (topic, sealed))
    until(lambda: receipted(device, hall) == {1})
    assert hall.figures.dropped == {"not_authentic": 1}


def test_an_opening_for_another_vault_gets_the_hint_key(hall: Hall, device: Device) -> None:
    announcement = hall.keys.announcement
    hall.vault.vault_id = "another"
    deliver(hall, device.open(announcement))
    until(lambda: hall.sent == [(topics.down(device.name, "hint"), b"key")])


def test_the_same_opening_again_changes_nothing(hall: Hall, device: Device) -> None:
    opening = device.open(hall.keys.announcement)
    deliver(hall, opening, *device.case(1))
    until(lambda: receipted(device, hall) == {1})
    hall.reception._devices[device.name].opened_at = float("-inf")
    hall.sent.clear()
    replayed = device.case(2)
    deliver(hall, opening, *replayed)
    until(lambda: receipted(device, hall) == {2})
    deliver(hall, *replayed)
    until(lambda: hall.figures.dropped["replay"] == 1)


def test_a_restart_needs_no_new_epoch_and_forgets_no_counter(tmp_path: Path, people: dict[str, Identity], device: Device) -> None:
    before = Hall(tmp_path, people["region"])
    opened(before, device)
    old = device.case(1)
    deliver(before, *old)
    until(lambda: receipted(device, before) == {1})
    before.close()
    after = Hall(tmp_path, people["region"])
    deliver(after, *old, *device.case(2))
    until(lambda: receipted(device, after) == {2})
    assert after.figures.dropped == {"replay": 1}
    after.expert.install(an_expert(tmp_path))  # an expert that comes later answers what is there
    until(lambda: recount(tmp_path / "vault.db").cases_answered == 2)
    assert set(answers(device, after)) == {1, 2}
    after.close()


def test_a_full_disk_gives_no_receipt_but_credit_and_then_goes_on(hall: Hall, device: Device) -> None:
    opened(hall, device)
    pages = hall.vault.database.rows("PRAGMA page_count")[0][0]
    hall.vault.database.rows(f"PRAGMA max_page_count={pages}")
    big = Picture(codec="png", width=8, height=8, data=bytes(15_000))
    sequence = 0

    def is_full() -> bool:
        nonlocal sequence
        sequence += 1
        deliver(hall, *device.case(sequence, a_case(sequence, picture=big)))
        return bool(hall.figures.storage_failures)

    until(is_full)
    until(lambda: not hall.worker.is_storing)
    deliver(hall, device.telemetry())
    until(lambda: device.name in hall.fleet.summary(now=time.time()))
    stored = recount(hall.vault.database.path).cases_stored
    assert len(receipted(device, hall)) == stored < sequence
    hall.vault.database.rows("PRAGMA max_page_count=100000")
    for missing in set(range(1, sequence + 1)) - receipted(device, hall):
        deliver(hall, *device.case(missing, a_case(missing, picture=big)))
    until(lambda: receipted(device, hall) == set(range(1, sequence + 1)))
    assert hall.worker.is_storing


def test_telemetry_and_reports_reach_the_fleet_summary_and_the_floor(hall: Hall, device: Device) -> None:
    opened(hall, device)
    report = UpdateReport(at=1.0, model="student", release=2, from_release=1, state="committed", reason="served")
    deliver(hall, *device.case(1), *device.case(2), device.telemetry(floor=2), device.tell(Kind.UPDATE_REPORT, report))
    until(lambda: (hall.fleet.summary(now=time.time()).get(device.name) or {}).get("reports"))
    summary = hall.fleet.summary(now=time.time())[device.name]
    assert summary["connected_recently"]
    assert summary["telemetry"]["streams"][0]["frames"] == 9
    assert summary["committed"] == [2]
    deliver(hall, *device.case(1))
    until(lambda: hall.figures.dropped["old"] == 1)


def test_a_revoked_device_is_not_heard_even_in_an_open_epoch(hall: Hall, device: Device, people: dict[str, Identity]) -> None:
    opened(hall, device)
    hall.revoked.serials.add(str(people["edge"].peer.serial))
    deliver(hall, *device.case(1))
    until(lambda: hall.figures.dropped["revoked"] == 1)
    hall.revoked.serials.clear()
    hall.revoked.names.add(device.name)
    deliver(hall, *device.case(2))
    until(lambda: hall.figures.dropped["revoked"] == 2)
    assert recount(hall.vault.database.path).cases_stored == 0


def test_an_unreadable_picture_is_refused_once_and_a_new_expert_takes_over(hall: Hall, device: Device, tmp_path: Path) -> None:
    hall.expert.install(an_expert(tmp_path))
    opened(hall, device)
    broken = Picture(codec="png", width=8, height=8, data=b"no picture")
    bomb = Picture(codec="png", width=5000, height=5000, data=colour(1, 1).data)
    deliver(hall, *device.case(1, a_case(1, picture=broken)), *device.case(2, a_case(2, picture=bomb)), *device.case(3))
    until(lambda: 3 in answers(device, hall))
    until(lambda: recount(hall.vault.database.path).cases_refused == 2)
    assert receipted(device, hall) == {1, 2, 3}
    hall.expert.install(an_expert(tmp_path, 2, flip=True))
    deliver(hall, *device.case(4))
    until(lambda: 4 in answers(device, hall))
    found = answers(device, hall)
    assert (found[3].expert_release, found[3].prediction.index) == (1, 1)
    assert (found[4].expert_release, found[4].prediction.index) == (2, 0)


class Picky:
    """A real expert that fails on every batch with a red picture in it, as a model may on one odd input."""

    def __init__(self, expert: OnnxExpert) -> None:
        self._expert = expert
        self.release, self.name = expert.release, expert.name

    def answer(self, pictures: Sequence[Pixels]) -> list[Prediction]:
        if any(picture[..., 0].mean() > 200 for picture in pictures):
            raise EngineError("the model failed on this input.")
        return self._expert.answer(pictures)

    def close(self) -> None:
        self._expert.close()


def test_a_case_the_expert_fails_on_does_not_hold_up_the_others(hall: Hall, device: Device, tmp_path: Path) -> None:
    opened(hall, device)
    red = a_case(1, picture=colour(250, 0))
    deliver(hall, *device.case(1, red), *device.case(2), *device.case(3))
    until(lambda: receipted(device, hall) == {1, 2, 3})
    hall.expert.install(Picky(an_expert(tmp_path)))
    until(lambda: recount(hall.vault.database.path).cases_answered == 2)
    until(lambda: recount(hall.vault.database.path).cases_refused == 1)


def test_every_suite_carries_a_case(hall: Hall, device: Device) -> None:
    for sequence, suite in enumerate((1, 2, 3), 1):
        hall.sent.clear()
        deliver(hall, device.open(hall.keys.announcement, suite=suite))
        deliver(hall, *device.case(sequence))
        until(lambda: receipted(device, hall))
        hall.reception._devices[device.name].opened_at = float("-inf")
    assert len(hall.epochs.load(now=time.time())) == 2  # of three, the last two are kept


def test_credit_rises_with_what_is_seen(hall: Hall, device: Device) -> None:
    opened(hall, device)
    for sequence in range(1, 300):
        deliver(hall, *device.case(sequence))
    until(lambda: len(receipted(device, hall)) == 299)
    said = [message for message in device.read(hall.sent) if not isinstance(message, Answer)]
    limits = [message.credit if isinstance(message, Receipt) else message.limit for message in said]
    assert limits == sorted(limits)
    assert limits[-1] == 298 + 256


def test_ranges_are_sorted_and_inclusive() -> None:
    assert ranges_of([9, 3, 1, 2, 3]) == ((1, 3), (9, 9))


def test_a_stored_case_is_the_sent_one(hall: Hall, device: Device) -> None:
    opened(hall, device)
    case = a_case(7, is_audit=True)
    deliver(hall, *device.case(7, case))
    until(lambda: receipted(device, hall) == {7})
    stored = hall.vault.unanswered()[0]
    assert (stored.case, stored.device, stored.sequence) == (case, device.name, 7)
    again = Incoming(device=device.name, spool=device.spool, sequence=7, payload=encode(case), case=case, received_at=0.0)
    assert hall.vault.store([again])[0].outcome.value == "duplicate"
