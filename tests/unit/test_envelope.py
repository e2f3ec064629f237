from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ProtocolError
from shared.wire import envelope
from shared.wire.envelope import OVERHEAD_BYTES, SUITES, Opener, Sealer, parse_header
from shared.wire.keys import EpochKeys
from shared.wire.messages import Kind
from tests.examples import examples

KEYS = EpochKeys.from_prk(bytes(range(32)))


@pytest.mark.parametrize("suite", SUITES)
def test_what_a_device_seals_its_region_opens_at_48_bytes_extra(suite: int) -> None:
    sealer, opener = Sealer(KEYS, epoch=9, suite=suite), Opener(KEYS, epoch=9, suite=suite)
    data = sealer.seal(Kind.CASE, b"x" * 100, sequence=41, index=1, count=3, codec=0)
    opened = opener.open(data)
    assert (opened.payload, opened.index, opened.count, opened.header.sequence) == (b"x" * 100, 1, 3, 41)
    assert len(data) == 100 + OVERHEAD_BYTES == 148


@pytest.mark.parametrize("suite", SUITES)
def test_every_flipped_bit_is_refused(suite: int) -> None:
    data = Sealer(KEYS, epoch=9, suite=suite).seal(Kind.TELEMETRY, b"abc")
    opener = Opener(KEYS, epoch=9, suite=suite)
    for position in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(ProtocolError):
            opener.open(bytes(damaged))


def test_a_case_sent_again_is_sealed_anew() -> None:
    sealer = Sealer(KEYS, epoch=1, suite=1)
    first, second = sealer.seal(Kind.CASE, b"same", sequence=5), sealer.seal(Kind.CASE, b"same", sequence=5)
    assert parse_header(first).counter == 0
    assert parse_header(second).counter == 1
    assert first[28:] != second[28:]


def test_each_instance_of_the_region_has_its_own_key_and_the_device_opens_all() -> None:
    opener = Opener(KEYS, epoch=1, suite=1, from_region=True)
    for instance in (0, 7, 2**64 - 1):
        opened = opener.open(Sealer(KEYS, epoch=1, suite=1, instance=instance).seal(Kind.CREDIT, b"c"))
        assert opened.header.sequence == instance
    assert len({KEYS.up, KEYS.audit, KEYS.down(0), KEYS.down(7)}) == 4


def test_a_message_cannot_be_sent_back_to_its_sender() -> None:
    up = Sealer(KEYS, epoch=1, suite=1).seal(Kind.CASE, b"x", sequence=1)
    with pytest.raises(ProtocolError, match="does not travel"):
        Opener(KEYS, epoch=1, suite=1, from_region=True).open(up)
    down = Sealer(KEYS, epoch=1, suite=1, instance=3).seal(Kind.RECEIPT, b"x")
    with pytest.raises(ProtocolError, match="does not travel"):
        Opener(KEYS, epoch=1, suite=1).open(down)
    with pytest.raises(ProtocolError, match="does not travel"):
        Sealer(KEYS, epoch=1, suite=1).seal(Kind.RECEIPT, b"x")


@pytest.mark.parametrize(("epoch", "suite"), [(2, 1), (1, 2)])
def test_another_epoch_or_suite_is_refused(epoch: int, suite: int) -> None:
    data = Sealer(KEYS, epoch=1, suite=1).seal(Kind.CASE, b"x", sequence=1)
    with pytest.raises(ProtocolError, match="not of the current epoch"):
        Opener(KEYS, epoch=epoch, suite=suite).open(data)


def test_keys_of_another_epoch_open_nothing() -> None:
    data = Sealer(KEYS, epoch=1, suite=1).seal(Kind.CASE, b"x", sequence=1)
    with pytest.raises(ProtocolError, match="does not open"):
        Opener(EpochKeys.from_prk(bytes(32)), epoch=1, suite=1).open(data)


def test_a_spent_epoch_seals_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "SEALS_PER_EPOCH", 2)
    sealer = Sealer(KEYS, epoch=1, suite=1)
    sealer.seal(Kind.CASE, b"x", sequence=1)
    sealer.seal(Kind.CASE, b"x", sequence=1)
    with pytest.raises(ProtocolError, match="spent"):
        sealer.seal(Kind.CASE, b"x", sequence=1)


def test_forged_instances_do_not_fill_memory() -> None:
    opener = Opener(KEYS, epoch=1, suite=1, from_region=True)
    forged = bytearray(Sealer(KEYS, epoch=1, suite=1, instance=1).seal(Kind.CREDIT, b"c"))
    for number in range(300):
        forged[20:28] = number.to_bytes(8, "big")
        with pytest.raises(ProtocolError):
            opener.open(bytes(forged[:-1]) + b"\x00")
    assert not opener._down


def test_keys_do_not_show_in_a_log() -> None:
    assert KEYS.up.hex() not in repr(KEYS)
    assert repr(KEYS) == "EpochKeys(...)"


@settings(max_examples=examples(300), deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Opener(KEYS, epoch=1, suite=1).open(data)
