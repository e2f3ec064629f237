"""The wire speaks the committed bytes: devices in the field do."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from shared.wire import announce, epoch, frame, messages
from shared.wire.compression import ZSTD, ZSTD_DICTIONARY, Decompressor, decompress
from shared.wire.dictionary import read_dictionary
from shared.wire.envelope import SUITES, Opener
from shared.wire.messages import Kind
from shared.wire.shelf import Shelf
from tests.certificates import Peer
from tests.golden import wire

GOLDEN = json.loads(wire.FILE.read_text(encoding="ascii"))


@pytest.mark.parametrize("name", [name for name in wire.fixed() if "read only" not in name])
def test_the_bytes_are_the_committed_ones(name: str) -> None:
    assert wire.fixed()[name] == GOLDEN["fixed"][name]


def test_no_golden_is_left_over() -> None:
    assert set(GOLDEN["fixed"]) == set(wire.fixed())


@pytest.mark.parametrize("message", wire.MESSAGES, ids=lambda message: type(message).__name__)
def test_committed_messages_decode(message: object) -> None:
    data = bytes.fromhex(GOLDEN["fixed"][f"message {type(message).__name__}"])
    assert messages.decode(type(message), data) == message


def test_every_message_has_its_golden() -> None:
    kinds = {kind for kind in messages.Message.__subclasses__() if kind.__module__ == messages.__name__}
    assert {type(message) for message in wire.MESSAGES} == kinds


def test_a_message_with_fields_of_a_later_version_still_decodes() -> None:
    data = bytes.fromhex(GOLDEN["fixed"]["message Credit"])
    longer = bytes([data[0] + 1]) + data[1:] + b"\x01"
    assert messages.decode(messages.Credit, longer).limit == 128


@pytest.mark.parametrize("suite", SUITES)
def test_committed_envelopes_open(suite: int) -> None:
    up = Opener(wire.KEYS, epoch=0x0123456789ABCDEF, suite=suite).open(bytes.fromhex(GOLDEN["fixed"][f"envelope up, suite {suite}"]))
    assert (up.header.kind, up.header.counter, up.header.sequence, up.index, up.count) == (Kind.CASE, 1, 65_540, 1, 3)
    opener = Opener(wire.KEYS, epoch=0x0123456789ABCDEF, suite=suite, from_region=True)
    down = opener.open(bytes.fromhex(GOLDEN["fixed"][f"envelope down, suite {suite}"]))
    assert (down.header.kind, down.header.codec, down.header.sequence, down.payload) == (Kind.RECEIPT, 1, 0xFEDCBA9876543210, b"payload")
    filled = Opener(wire.KEYS, epoch=0x0123456789ABCDEF, suite=suite).open(
        bytes.fromhex(GOLDEN["fixed"][f"envelope filled, suite {suite}"])
    )
    assert (filled.header.is_filled, filled.header.codec, filled.payload) == (True, 1, b"payload")


def test_a_committed_frame_is_read() -> None:
    assert frame.unpack(bytes.fromhex(GOLDEN["fixed"]["frame"])) == wire.FRAME


def test_committed_zstd_is_read() -> None:
    assert decompress(ZSTD, bytes.fromhex(GOLDEN["fixed"]["zstd telemetry, read only"])) == b"telemetry " * 20


def test_a_committed_message_is_read_with_the_committed_dictionary() -> None:
    dictionary = read_dictionary(bytes.fromhex(GOLDEN["fixed"]["dictionary, read only"]))
    coded = bytes.fromhex(GOLDEN["fixed"]["zstd telemetry with the dictionary, read only"])
    found = messages.decode(messages.Telemetry, Decompressor(Shelf([dictionary]).find).decompress(ZSTD_DICTIONARY, coded))
    assert (found.floor, found.cases_sent, found.latency_ms_p50) == (65_540, 9, 2.5)


@pytest.mark.parametrize("name", GOLDEN["openings"])
def test_a_committed_opening_gives_the_committed_keys(name: str) -> None:
    golden = {key: bytes.fromhex(value) for key, value in GOLDEN["openings"][name].items()}

    def verify(chain: Sequence[bytes], common_name: str = "edge-1.region-1") -> Peer:
        return Peer(common_name, "region-1")

    accepted = epoch.accept_open(
        golden["open"],
        private_keys={"k1": golden["private"]},
        region="region-1",
        vault_id="vault-a",
        suites=(1,),
        verify=verify,
        topic_device="edge-1.region-1",
    )
    assert (accepted.prk, accepted.epoch_id.to_bytes(8, "big"), accepted.spool_id) == (golden["prk"], golden["epoch"], wire.SPOOL_ID)
    found = announce.verify_announcement(golden["announcement"], verify=verify, region="region-1", now=1_800_000_100.0, lowest_serial=3)
    assert found.kem == name
