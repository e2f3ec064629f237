"""What is said in another's name, said again, or changed on the way: to the real reception and vault, with real certificates and epochs.

Each is dropped and counted by its reason, what speaks of an attacker is written into the audit log, and the device beside goes on.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from region.guard import REFUSED
from region.recount import recount
from shared.identity.store import Identity
from shared.wire import epoch as epochs
from shared.wire import topics
from shared.wire.messages import Kind, Picture, encode
from shared.wire.signed import Signed, sign
from tests.examples import examples
from tests.unit.region_parts import Device, Hall, a_case, deliver, opened, receipted
from tests.waiting import until

PICTURE = Picture(codec="png", width=8, height=8, data=bytes(20_000))
"""Of two chunks."""


@pytest.fixture
def victim(people: dict[str, Identity]) -> Device:
    return Device(people["edge"], people["region"])


@pytest.fixture
def thief(people: dict[str, Identity]) -> Device:
    return Device(people["second"], people["region"])


def refused(hall: Hall) -> dict[tuple[str, str], int]:
    """What the audit log says of refusals, by device and reason."""
    hall.guard.once(now=time.monotonic(), at=time.time())
    return {(one.subject, one.detail["reason"]): one.detail["messages"] for one in hall.audit.entries() if one.action == REFUSED}


def stored(hall: Hall) -> int:
    return recount(hall.vault.database.path).cases_stored


def test_a_publishes_as_b(hall: Hall, victim: Device, thief: Device) -> None:
    """Even with a broker that lets it: what a device seals opens under no other's name."""
    opened(hall, victim)
    opened(hall, thief)
    for _, envelope in thief.case(1):
        deliver(hall, (topics.up(victim.name, "case"), envelope))
    until(lambda: hall.figures.dropped["unknown_epoch"] == 1)
    foreign = thief.case(2)[0][1]
    masked = foreign[:4] + victim.opening.epoch_id.to_bytes(8, "big") + foreign[12:]  # the victim's epoch in the clear header
    deliver(hall, (topics.up(victim.name, "case"), masked))
    until(lambda: hall.figures.dropped["not_authentic"] == 1)
    deliver(hall, *victim.case(1), *thief.case(3))
    until(lambda: (receipted(victim, hall), receipted(thief, hall)) == ({1}, {3}))
    assert refused(hall) == {(victim.name, "not_authentic"): 1}


def test_a_s_ciphertext_signed_anew_by_b(hall: Hall, victim: Device, thief: Device) -> None:
    """B takes A's opening, puts its own certificate and signature on it, and hands A's sealed cases in as its own."""
    opening = victim.open(hall.keys.announcement)
    signed = msgspec.msgpack.decode(opening[1], type=Signed)
    again = sign(epochs._SIGN_LABEL, signed.body, signer=thief.identity.sign, chain=thief.identity.chain)
    deliver(hall, (topics.up(thief.name, "open"), encode(again)))
    until(lambda: hall.figures.dropped["open_identity"] == 1)  # the fields name A, the certificate names B
    deliver(hall, opening)
    case = victim.case(1)
    deliver(hall, *[(topics.up(thief.name, "case"), envelope) for _, envelope in case])
    until(lambda: hall.figures.dropped["unknown_epoch"] == 1)
    deliver(hall, *case)
    until(lambda: receipted(victim, hall) == {1})
    assert refused(hall) == {(thief.name, "open_identity"): 1}
    assert stored(hall) == 1


def test_a_stranger_s_opening_and_the_victim_s_on_another_topic(hall: Hall, victim: Device, people: dict[str, Identity]) -> None:
    stranger = Device(people["stranger"], people["region"])  # edge-1 of region 2
    deliver(hall, (topics.up(victim.name, "open"), stranger.open(hall.keys.announcement)[1]))
    until(lambda: hall.figures.dropped["open_identity"] == 1)
    assert refused(hall) == {(victim.name, "open_identity"): 1}


def test_replay(hall: Hall, victim: Device) -> None:
    """Every message again: the opening, a case, telemetry; also after another epoch was opened."""
    opening = victim.open(hall.keys.announcement)
    said = [*victim.case(1), victim.telemetry(floor=1)]
    deliver(hall, opening, *said)
    until(lambda: receipted(victim, hall) == {1})
    deliver(hall, *said, *said)
    until(lambda: hall.figures.dropped["replay"] == 4)
    for _ in range(2):  # an epoch that was opened before the last two is over for good
        hall.reception._devices[victim.name].opened_at = float("-inf")
        deliver(hall, victim.open(hall.keys.announcement))
        until(lambda: hall.reception.live(victim.name, victim.opening.epoch_id))
    hall.sent.clear()
    hall.reception._devices[victim.name].opened_at = float("-inf")
    deliver(hall, opening, *said)
    until(lambda: hall.figures.dropped["epoch_used"] == 1 and hall.figures.dropped["unknown_epoch"] == 2)
    deliver(hall, *victim.case(2))
    until(lambda: receipted(victim, hall) == {2})
    assert stored(hall) == 2
    assert refused(hall) == {(victim.name, "replay"): 4, (victim.name, "epoch_used"): 1}


def test_a_spool_made_anew_begins_with_sequence_1(hall: Hall, victim: Device, people: dict[str, Identity]) -> None:
    opened(hall, victim)
    deliver(hall, *victim.case(1), *victim.case(2))
    until(lambda: receipted(victim, hall) == {1, 2})
    hall.sent.clear()
    hall.reception._devices[victim.name].opened_at = float("-inf")
    wiped = Device(people["edge"], people["region"])  # the same device after its state was wiped
    opened(hall, wiped)
    other = a_case(1, unit="after")
    deliver(hall, *wiped.case(1, other))
    until(lambda: receipted(wiped, hall) == {1})
    assert stored(hall) == 3  # new cases, no duplicates


def test_a_cloned_card_is_set_aside_and_alarmed(hall: Hall, victim: Device, people: dict[str, Identity]) -> None:
    opened(hall, victim)
    deliver(hall, *victim.case(1))
    until(lambda: receipted(victim, hall) == {1})
    hall.sent.clear()
    hall.reception._devices[victim.name].opened_at = float("-inf")
    clone = Device(people["edge"], people["region"])
    clone.spool = victim.spool
    opened(hall, clone)
    deliver(hall, *clone.case(1, a_case(1, unit="of the clone")), *clone.case(2))
    until(lambda: receipted(clone, hall) == {2})
    assert hall.figures.dropped["conflict"] == 1
    assert refused(hall) == {(victim.name, "conflict"): 1}


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_downgrade(hall: Hall, victim: Device, offset: int) -> None:
    """Version, suite, kind or codec of an envelope changed to another that exists: it does not open."""
    opened(hall, victim)
    topic, sealed = victim.case(1)[0]
    changed = bytearray(sealed)
    changed[offset] = {0: 0, 1: 3, 2: int(Kind.TELEMETRY), 3: 1}[offset]
    deliver(hall, (topic, bytes(changed)), (topic, sealed))
    until(lambda: receipted(victim, hall) == {1})
    assert sum(hall.figures.dropped.values()) == 1
    assert set(hall.figures.dropped) <= {"header", "not_authentic"}


def test_downgrade_of_the_opening(tmp_path: Path, people: dict[str, Identity], victim: Device) -> None:
    """A suite the region does not allow, in an opening the device signed; and its signed fields changed on the way."""
    hall = Hall(tmp_path, people["region"])
    hall.reception._suites = (1,)
    deliver(hall, victim.open(hall.keys.announcement, suite=3))
    until(lambda: hall.figures.dropped["open_protocol"] == 1)
    hall.reception._devices[victim.name].opened_at = float("-inf")
    topic, data = victim.open(hall.keys.announcement, suite=1)
    signed = msgspec.msgpack.decode(data, type=Signed)
    body = msgspec.msgpack.decode(signed.body, type=epochs.OpenBody)
    fields = msgspec.structs.replace(msgspec.msgpack.decode(body.fields, type=epochs.OpenFields), suite=2)
    changed = Signed(body=encode(msgspec.structs.replace(body, fields=encode(fields))), chain=signed.chain, signature=signed.signature)
    deliver(hall, (topic, encode(changed)))
    until(lambda: hall.figures.dropped["open_identity"] + hall.figures.dropped["open_protocol"] == 2)
    hall.close()
    assert stored(hall) == 0


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_truncation_and_bit_flips_of_everything(hall: Hall, victim: Device, data: st.DataObject) -> None:
    """An opening, a case of several chunks and telemetry, cut anywhere or with any bit flipped: never stored, never an exception."""
    entry = hall.reception._devices.get(victim.name)
    if entry is not None:
        entry.opened_at = float("-inf")
    opening = victim.open(hall.keys.announcement)
    messages = [opening, *victim.case(1, a_case(1, picture=PICTURE)), victim.telemetry()]
    whole = messages[data.draw(st.integers(0, 3))]
    place = int(data.draw(st.floats(0, 1, exclude_max=True)) * 8 * len(whole[1]))
    if data.draw(st.booleans()):
        damaged = whole[1][: place // 8]
    else:
        damaged = bytearray(whole[1])
        damaged[place // 8] ^= 1 << place % 8
    before, cases = sum(hall.figures.dropped.values()), stored(hall)
    deliver(hall, *([] if whole is opening else [opening]), (whole[0], bytes(damaged)))
    until(lambda: sum(hall.figures.dropped.values()) == before + 1)
    assert stored(hall) == cases
    assert hall.worker._thread.is_alive()


KINDS = st.sampled_from(["open", "case", "control", "nonsense"])


@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(KINDS, st.binary(max_size=300)), min_size=1, max_size=50))
def test_arbitrary_bytes_on_every_topic(hall: Hall, victim: Device, said: list[tuple[str, bytes]]) -> None:
    before = sum(hall.figures.dropped.values())
    deliver(hall, *[(f"t/{victim.name}/up/{topics.shard_of(victim.name):02d}/{kind}", data) for kind, data in said])
    until(lambda: sum(hall.figures.dropped.values()) == before + len(said))
    assert hall.worker._thread.is_alive()


def test_an_attacker_s_epoch_costs_the_victim_nothing(hall: Hall, victim: Device) -> None:
    """A flood of forged openings and envelopes between a device's own does not cost it one case."""
    opened(hall, victim)
    for sequence in range(1, 40):
        forged = os.urandom(200)
        deliver(hall, (topics.up(victim.name, "open"), forged), (topics.up(victim.name, "case"), forged), *victim.case(sequence))
    until(lambda: receipted(victim, hall) == set(range(1, 40)))
