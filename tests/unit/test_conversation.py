"""The device's whole side without a thread, a clock or a broker: handshake, downlink and conversation against a region in memory."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import IdentityError, ProtocolError, TrustError
from shared.link import handshake as handshakes
from shared.link.conversation import Conversation, Outgoing
from shared.link.downlink import Downlink
from shared.link.handshake import Handshake, State
from shared.link.retention import Waiting
from shared.link.session import Session
from shared.wire import announce, envelope
from shared.wire.chunks import CHUNK_BYTES, Reassembly
from shared.wire.envelope import Opener, Sealer
from shared.wire.epoch import accept_open
from shared.wire.messages import Answer, Command, Credit, KeyAnnouncement, Kind, Prediction, Receipt, encode
from tests.certificates import Signer, believe
from tests.examples import examples
from tests.link_world import World

DEVICE, SERVER = Signer("edge-1.region-1"), Signer("server.region-1")
SPOOL = bytes(range(16))
WALL = 1_800_000_000.0


class Region:
    """A region in memory."""

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.vault_id, self.serial = "vault-a", 0
        self.sealer: Sealer | None = None
        self.opener: Opener | None = None
        self.together = Reassembly()
        self.stored: dict[int, bytes] = {}

    def announcement(self, **changes: object) -> bytes:
        self.serial += 1
        private, public = announce.new_key()
        self.keys[f"k{self.serial}"] = private
        values = {"region": "region-1", "vault_id": self.vault_id, "key_id": f"k{self.serial}", "kem": "x25519", "public": public}
        values |= {"not_before": int(WALL), "not_after": int(WALL) + 7 * 86400, "serial": self.serial}
        return announce.sign_announcement(KeyAnnouncement(**{**values, **changes}), SERVER.sign, SERVER.chain)

    def hear(self, outgoing: Outgoing) -> list[bytes]:
        if outgoing.kind == "open":
            accepted = accept_open(
                outgoing.data,
                private_keys=self.keys,
                region="region-1",
                vault_id=self.vault_id,
                suites=(1,),
                verify=believe(DEVICE),
                topic_device="edge-1.region-1",
            )
            self.opener = Opener(accepted.keys, epoch=accepted.epoch_id, suite=1)
            self.sealer = Sealer(accepted.keys, epoch=accepted.epoch_id, suite=1, instance=random.getrandbits(64))
            return [self.say(Credit(limit=64))]
        if self.opener is None:
            return []
        opened = self.opener.open(outgoing.data)
        if opened.header.kind is not Kind.CASE:
            return [self.say(Credit(limit=opened.header.counter + 64))]
        sequence = opened.header.sequence
        whole = self.together.add((opened.header.epoch, sequence), opened.index, opened.count, 0, opened.payload)
        if whole is None:
            return []
        self.stored[sequence] = whole
        return [self.receipt(sequence), self.answer(sequence)]

    def receipt(self, sequence: int, *, vault_id: str = "", spool_id: bytes = SPOOL) -> bytes:
        return self.say(Receipt(vault_id=vault_id or self.vault_id, spool_id=spool_id, ranges=((sequence, sequence),), credit=0))

    def answer(self, sequence: int) -> bytes:
        prediction = Prediction(index=1, probabilities=(0.5, 0.5))
        return self.say(Answer(spool_id=SPOOL, sequence=sequence, prediction=prediction, expert_release=1, at=0.0))

    def say(self, word: Receipt | Answer | Credit | Command) -> bytes:
        kind = {Receipt: Kind.RECEIPT, Answer: Kind.ANSWER, Credit: Kind.CREDIT, Command: Kind.COMMAND}[type(word)]
        return self.sealer.seal(kind, encode(word))


def shake() -> Handshake:
    made = Handshake(
        device="edge-1.region-1",
        region="region-1",
        suite=1,
        chain=DEVICE.chain,
        signer=DEVICE.sign,
        verify=believe(SERVER),
        random=os.urandom,
    )
    made.begin(spool_id=SPOOL, lowest_serial=0)
    return made


def converse(*sizes: int) -> tuple[Conversation, dict[int, bytes]]:
    payloads = {number: os.urandom(size) for number, size in enumerate(sizes, start=1)}
    conversation = Conversation(handshake=shake(), session=Session(random=lambda: 0.5))
    waiting = [Waiting(sequence=number, size=len(data), is_audit=False, value=0.0) for number, data in payloads.items()]
    conversation.begin(waiting, spool_id=SPOOL, lowest_serial=0)
    return conversation, payloads


def drain(conversation: Conversation, payloads: dict[int, bytes], now: float) -> list[Outgoing]:
    sent = []
    while (outgoing := conversation.next(now, read=payloads.get, telemetry=lambda: b"telemetry")) is not None:
        sent.append(outgoing)
    return sent


def test_nothing_goes_out_before_a_key_is_known_and_then_the_opening_first() -> None:
    conversation, payloads = converse(10, 40_000)
    assert drain(conversation, payloads, 0.0) == []
    assert conversation.wake_at(0.0) is None
    assert conversation.audit_key is None
    region = Region()
    assert conversation.announced(region.announcement(), now=0.0, wall=WALL) == 1
    sent = drain(conversation, payloads, 0.0)
    assert [outgoing.kind for outgoing in sent] == ["open", "control", "case", "case", "case", "case"]
    assert len(conversation.audit_key) == 32
    stored, answers = [], []
    for outgoing in sent:
        for word in region.hear(outgoing):
            gone, answer = conversation.heard(word, now=0.1)
            stored += gone
            answers += [answer.sequence] if answer else []
    assert (stored, answers) == ([1, 2], [1, 2])
    assert region.stored == payloads
    assert conversation.is_open


def test_an_opening_is_repeated_byte_for_byte_until_it_is_heard_and_then_all_is_sent_again() -> None:
    conversation, payloads = converse(10)
    region = Region()
    conversation.announced(region.announcement(), now=0.0, wall=WALL)
    first = drain(conversation, payloads, 0.0)
    again = drain(conversation, payloads, handshakes.OPEN_AGAIN_S)
    assert again[0] == first[0]
    (credit,) = region.hear(again[0])
    conversation.heard(credit, now=5.3)
    assert next(outgoing.kind for outgoing in drain(conversation, payloads, 5.3)) == "case", "at once, without waiting for a time-out"


def test_words_of_an_old_epoch_replays_and_other_spools_are_not_believed() -> None:
    conversation, payloads = converse(10, 10)
    region = Region()
    conversation.announced(region.announcement(), now=0.0, wall=WALL)
    for outgoing in drain(conversation, payloads, 0.0):
        region.hear(outgoing)
    assert conversation.heard(region.receipt(1, vault_id="vault-b"), now=0.0) == ([], None)
    assert conversation.heard(region.receipt(1, spool_id=bytes(16)), now=0.0) == ([], None)
    assert conversation.heard(region.say(Command(name="dance")), now=0.0) == ([], Command(name="dance"))
    assert conversation.ignored == {"receipt of another vault or spool": 2}
    good = region.receipt(1)
    assert conversation.heard(good, now=0.0) == ([1], None)
    with pytest.raises(ProtocolError, match="seen before"):
        conversation.heard(good, now=0.0)
    old = region.receipt(2)
    conversation.announced(region.announcement(), now=1.0, wall=WALL)
    with pytest.raises(ProtocolError, match="current epoch"):
        conversation.heard(old, now=1.0)


def test_a_hint_repeats_the_opening_and_only_silence_makes_a_new_epoch() -> None:
    conversation, payloads = converse()
    region = Region()
    conversation.announced(region.announcement(), now=0.0, wall=WALL)
    first = drain(conversation, payloads, 0.0)[0]
    conversation.heard(region.hear(first)[0], now=0.0)
    assert not conversation.wants_key(10.0)
    conversation.hinted(10.0)
    assert conversation.wants_key(10.0)
    assert not conversation.wants_key(12.0), "at most every five seconds"
    assert drain(conversation, payloads, 10.0)[0] == first
    conversation.heard(region.say(Credit(limit=9)), now=11.0)
    assert not conversation.renew(now=16.0, wall=WALL), "the region spoke: the hint was forged"
    conversation.hinted(20.0)
    assert not conversation.renew(now=25.1, wall=WALL)
    assert conversation.renew(now=25.3, wall=WALL)
    assert drain(conversation, payloads, 25.3)[0].data != first.data


def test_a_flood_of_hints_is_one_hint_in_five_seconds() -> None:
    made = shake()
    made.announced(Region().announcement(), now=0.0, wall=WALL)
    made.heard()
    for number in range(400):
        made.hinted(number * 0.01)
    assert made.state is State.DOUBTED
    made.heard()
    made.hinted(4.0)
    assert made.state is State.OPEN
    made.hinted(5.0)
    assert made.state is State.DOUBTED


def test_an_opening_that_the_region_cannot_use_any_more_gives_way_however_often_it_hints() -> None:
    """The device slept while it was opening; the region knows the opening and has destroyed what belongs to it."""
    made = shake()
    made.announced(Region().announcement(), now=0.0, wall=WALL)
    first, now = made.opening, 100.0
    while made.opening == first:
        assert now < 112.0, "a hint every five seconds must not put the new epoch off for ever"
        made.hinted(now)
        made.renewed(now=now, wall=WALL, is_spent=False)
        now += 0.5
    assert made.state is State.OPENING
    assert made.open_to_send(now) == made.opening.data


def test_a_new_epoch_every_day_but_never_towards_an_expired_key() -> None:
    made = shake()
    region = Region()
    made.announced(region.announcement(), now=0.0, wall=WALL)
    first = made.opening
    assert not made.renewed(now=86_399.0, wall=WALL, is_spent=False)
    assert made.renewed(now=86_400.0, wall=WALL, is_spent=False)
    assert made.opening != first
    assert not made.renewed(now=10 * 86_400.0, wall=WALL + 10 * 86_400, is_spent=False)
    assert made.wants_key(10 * 86_400.0)


def test_a_spent_counter_makes_a_new_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.link.conversation.SEALS_PER_EPOCH", 3)
    conversation, payloads = converse(10, 10, 10, 10)
    region = Region()
    conversation.announced(region.announcement(), now=0.0, wall=WALL)
    assert len(drain(conversation, payloads, 0.0)) == 4, "the opening and three seals"
    assert conversation.renew(now=0.1, wall=WALL)
    sent = drain(conversation, payloads, 0.1)
    assert [envelope.parse_header(outgoing.data).counter for outgoing in sent[1:]] == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "error"), [({"serial": 0}, TrustError), ({"region": "region-2"}, IdentityError), ({"not_after": int(WALL) - 1}, TrustError)]
)
def test_a_refused_announcement_changes_nothing(changes: dict[str, object], error: type[Exception]) -> None:
    made = shake()
    region = Region()
    made.announced(region.announcement(), now=0.0, wall=WALL)
    opening = made.opening
    with pytest.raises(error):
        made.announced(region.announcement(**changes), now=1.0, wall=WALL)
    assert (made.opening, made.serial) == (opening, 1)


def test_the_same_key_announced_again_keeps_the_epoch() -> None:
    made = shake()
    region = Region()
    data = region.announcement()
    assert made.announced(data, now=0.0, wall=WALL)
    assert not made.announced(data, now=1.0, wall=WALL)
    assert made.announced(region.announcement(), now=2.0, wall=WALL)


def test_an_evicted_case_in_the_middle_of_its_chunks_lets_the_next_one_go() -> None:
    conversation, payloads = converse(40_000, 10)
    region = Region()
    conversation.announced(region.announcement(), now=0.0, wall=WALL)
    sent = [conversation.next(0.0, read=payloads.get, telemetry=lambda: b"t") for _ in range(3)]
    conversation.offered([], evicted=[1])
    sent += drain(conversation, payloads, 0.0)
    for outgoing in sent:
        region.hear(outgoing)
    assert list(region.stored) == [2]


def test_a_small_case_between_the_chunks_of_a_large_one_leaves_both_whole() -> None:
    conversation, payloads = converse(60_000)
    region = Region()
    conversation.announced(region.announcement(), now=0.0, wall=WALL)
    sent = [conversation.next(0.0, read=payloads.get, telemetry=lambda: b"t") for _ in range(4)]
    for sequence in (2, 3):
        payloads[sequence] = os.urandom(100)
        conversation.offered([Waiting(sequence=sequence, size=100, is_audit=True, value=0.0)], evicted=())
    sent += drain(conversation, payloads, 0.0)
    for outgoing in sent:
        region.hear(outgoing)
    assert region.stored == payloads
    assert list(region.stored)[-1] == 1, "the large one came last"


def test_a_case_whose_row_is_gone_is_left_out() -> None:
    conversation, payloads = converse(10, 10)
    region = Region()
    conversation.announced(region.announcement(), now=0.0, wall=WALL)
    sent = drain(conversation, {2: payloads[2]}, 0.0)
    for outgoing in sent:
        region.hear(outgoing)
    assert list(region.stored) == [2]


@settings(max_examples=examples(200), deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_never_a_word(data: bytes) -> None:
    made = shake()
    made.announced(Region().announcement(), now=0.0, wall=WALL)
    with pytest.raises(ProtocolError):
        Downlink(made.opening).take(data)


@settings(max_examples=examples(30), deadline=None)
@given(st.integers(0, 2**32))
def test_with_loss_repetition_and_reordering_both_ways_every_case_arrives_whole(seed: int) -> None:
    dice = random.Random(seed)
    conversation, payloads = converse(*(dice.choice([5, 500, 20_000, 60_000]) for _ in range(25)))
    region, left, now = Region(), set(payloads), 0.0
    conversation.announced(region.announcement(), now=0.0, wall=WALL)
    while left:
        assert now < 3600, "it does not come to an end"
        if dice.random() < 0.02:
            conversation.announced(region.announcement(), now=now, wall=WALL)
        if dice.random() < 0.05:
            conversation.reconnected()
        down: list[bytes] = []
        for outgoing in drain(conversation, payloads, now):
            for _ in range(dice.choice([0, 1, 1, 1, 2])):
                try:
                    down += region.hear(outgoing)
                except ProtocolError:
                    continue  # of an epoch the region does not have
        dice.shuffle(down)
        for word in down:
            try:
                gone, _ = conversation.heard(word, now=now) if dice.random() < 0.8 else ([], None)
            except ProtocolError:
                continue
            left -= set(gone)
        conversation.renew(now=now, wall=WALL)
        now += 0.25
    assert region.stored == payloads


def test_small_cases_that_wait_share_a_chunk_and_a_large_one_does_not_hold_them() -> None:
    world = World("north")
    world.run(3)
    for size in (100, 100, 5_000, 100, 40_000, 9_000, 9_000):
        world.offer(size)
    world.step()
    sent = [envelope.parse_header(payload) for topic, payload in world.up["north"] if topic.endswith("/case")]
    kinds = [header.kind for header in sent]
    assert kinds.count(Kind.CASE) == 3, "the chunks of the large one"
    assert kinds.count(Kind.FRAME) >= 1
    assert len(kinds) <= 6, "seven cases"
    assert all(len(payload) <= envelope.OVERHEAD_BYTES + CHUNK_BYTES for _, payload in world.up["north"])
    world.exchange()
    assert not world.spool
    assert set(world.effects.values()) == {1}


def test_a_region_that_reads_no_frames_gets_none() -> None:
    conversation, payloads = converse(10, 10, 10)
    region = Region()
    conversation.announced(region.announcement(schema=1), now=0.0, wall=WALL)
    kinds = [envelope.parse_header(one.data).kind for one in drain(conversation, payloads, 0.0)[1:]]
    assert kinds == [Kind.TELEMETRY, Kind.CASE, Kind.CASE, Kind.CASE]


def test_control_overtakes_cases_that_could_have_shared_a_chunk() -> None:
    world = World("north")
    world.run(3)
    for _ in range(200):
        world.offer(100)
    world.step(most=1)
    world.conversations["north"].control(b"report")
    world.step(most=1)
    kinds = [envelope.parse_header(payload).kind for _, payload in world.up["north"]]
    assert kinds == [Kind.FRAME, Kind.UPDATE_REPORT]
