"""Whatever bytes come, also from a device that has the keys: a message or a protocol error, in bounded memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import IdentityError, ProtocolError, TrustError
from shared.wire import frame, messages
from shared.wire.announce import verify_announcement
from shared.wire.chunks import CHUNK_BYTES, Reassembly
from shared.wire.compression import Decompressor
from shared.wire.envelope import HEADER_BYTES, LARGEST_ENVELOPE_BYTES, Opener, Sealer, parse_header
from shared.wire.epoch import accept_open
from shared.wire.keys import EpochKeys
from shared.wire.messages import Kind
from shared.wire.padding import FLAG
from shared.wire.shelf import Shelf
from tests.certificates import Peer
from tests.examples import examples
from tests.golden import wire

KEYS = EpochKeys.from_prk(bytes(range(32)))
DICTIONARY = wire.a_dictionary()
OPENINGS = wire.openings()
KINDS = [kind for kind in Kind if kind is not Kind.OPEN]
CHUNKS = st.tuples(st.integers(0, 30), st.integers(-1, 70), st.integers(-1, 70), st.integers(0, 2), st.integers(0, CHUNK_BYTES + 1))
BOMB_HEADS = [b"\xdd\xff\xff\xff\xff", b"\x92\x01\xdd\x7f\xff\xff\xff", b"\x93\xc6\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\x91" * 600]


def verify(chain: Sequence[bytes]) -> Peer:
    return Peer("edge-1.region-1", "region-1")


@settings(max_examples=examples(300), deadline=None)
@given(
    kind=st.sampled_from([kind for kind in KINDS if kind < 16]), codec=st.integers(0, 255), index=st.integers(0, 65_535),
    count=st.integers(0, 65_535), body=st.one_of(st.binary(max_size=400), st.sampled_from(BOMB_HEADS)),
)  # fmt: skip
def test_what_an_authentic_but_faulty_device_seals_is_a_message_or_a_protocol_error(
    kind: Kind, codec: int, index: int, count: int, body: bytes
) -> None:
    sealed = Sealer(KEYS, epoch=1, suite=1).seal(kind, body, index=index, count=count, codec=codec)
    try:
        opened = Opener(KEYS, epoch=1, suite=1).open(sealed)
        assert opened.header.codec < FLAG
        whole = Reassembly().add(kind, opened.index, opened.count, opened.header.codec, opened.payload)
        if whole is None:
            return
        plain = Decompressor(Shelf([DICTIONARY]).find).decompress(opened.header.codec, whole)
        parts = frame.unpack(plain) if kind is Kind.FRAME else (frame.Part(kind=kind, payload=plain),)
        for part in parts:
            messages.decode(messages.Telemetry if part.kind is Kind.TELEMETRY else messages.Case, part.payload)
    except ProtocolError:
        pass


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(CHUNKS, max_size=60))
def test_reassembly_holds_no_more_than_it_may_whatever_chunks_come(chunks: list[tuple[int, int, int, int, int]]) -> None:
    together = Reassembly(most=8, limit_bytes=100_000)
    for key, index, count, codec, size in chunks:
        try:
            whole = together.add(key, index, count, codec, bytes(size))
        except ProtocolError:
            assert not (0 < count <= 64 and 0 <= index < count and size <= CHUNK_BYTES)
        else:
            assert whole is None or len(whole) <= messages.LARGEST_MESSAGE_BYTES
        assert len(together) <= 8
        assert together.size_bytes <= 100_000


def _damaged(data: bytes, draw: st.DataObject) -> bytes:
    """Return bytes with some changed, cut off or put in."""
    at = draw.draw(st.integers(0, len(data)))
    return data[:at] + draw.draw(st.binary(max_size=8)) + data[at + draw.draw(st.integers(0, 8)) :]


@settings(max_examples=examples(150), deadline=None)
@given(draw=st.data(), name=st.sampled_from(sorted(OPENINGS)))
def test_damaged_announcements_and_openings_are_refused(draw: st.DataObject, name: str) -> None:
    golden = {key: bytes.fromhex(value) for key, value in OPENINGS[name].items()}
    announcement, opening = _damaged(golden["announcement"], draw), _damaged(golden["open"], draw)
    try:
        found = verify_announcement(announcement, verify=verify, region="region-1", now=1_800_000_100.0, lowest_serial=3)
        assert msgspec.msgpack.encode(found) in golden["announcement"], "only the signature's or the chain's own bytes can have changed"
    except (ProtocolError, IdentityError, TrustError):
        pass
    try:
        accepted = accept_open(
            opening, private_keys={"k1": golden["private"]}, region="region-1", vault_id="vault-a", suites=(1,), verify=verify,
            topic_device="edge-1.region-1",
        )  # fmt: skip
        assert accepted.prk == golden["prk"]
    except (ProtocolError, IdentityError):
        pass


@pytest.mark.parametrize("kind", wire.MESSAGES, ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("head", BOMB_HEADS, ids=lambda head: head[:6].hex())
def test_a_claimed_length_takes_no_memory(kind: msgspec.Struct, head: bytes) -> None:
    count = len(type(kind).__struct_fields__)
    encoded = messages.encode(kind)
    tracemalloc.start()
    for data in (head, encoded[:-1] + head, bytes([0x90 | min(count, 15)]) + head, encoded[: len(encoded) // 2] + head):
        try:
            messages.decode(type(kind), data)
        except ProtocolError:
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("size", [0, HEADER_BYTES, 47, LARGEST_ENVELOPE_BYTES + 1, 10 << 20])
def test_an_envelope_of_a_wrong_length_is_refused_by_its_length_alone(size: int) -> None:
    with pytest.raises(ProtocolError, match="outside 48 to"):
        parse_header(bytes(size))


def test_a_million_tiny_parts_do_not_fit_a_frame() -> None:
    tiny = frame.pack([frame.Part(kind=Kind.TELEMETRY, payload=b"")])
    for count in (frame.MOST_PARTS + 1, frame.FRAME_BYTES // len(tiny), 1_000_000):
        with pytest.raises(ProtocolError, match=r"more than 64|outside"):
            frame.unpack(tiny * count)
