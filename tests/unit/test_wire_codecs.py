"""Replay window, compression, chunks and topics: the pure parts of the wire."""

from __future__ import annotations

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ProtocolError
from shared.wire import messages, topics
from shared.wire.chunks import CHUNK_BYTES, Reassembly, split
from shared.wire.compression import NONE, ZSTD, decompress
from shared.wire.replay import WIDTH, ReplayWindow
from tests.examples import examples


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.integers(0, 5000), max_size=200))
def test_the_replay_window_agrees_with_a_set(counters: list[int]) -> None:
    window, seen = ReplayWindow(), set()
    for counter in counters:
        behind = bool(seen) and counter <= max(seen) - WIDTH
        assert window.is_new(counter) == (counter not in seen and not behind)
        window.add(counter)
        seen.add(counter)
        window = ReplayWindow.from_bytes(window.to_bytes())


def test_a_replay_window_is_136_bytes_and_nothing_else_is_one() -> None:
    window = ReplayWindow()
    window.add(2**64 - 2)
    assert len(window.to_bytes()) == 136
    assert not ReplayWindow.from_bytes(window.to_bytes()).is_new(2**64 - 2)
    assert ReplayWindow.from_bytes(ReplayWindow().to_bytes()).is_new(0)
    with pytest.raises(ProtocolError):
        ReplayWindow.from_bytes(b"short")


def _bomb() -> bytes:
    return zstandard.ZstdCompressor(level=19).compress(bytes(50_000_000))


def _lying(size: int) -> bytes:
    frame = bytearray(zstandard.ZstdCompressor().compress(b"a" * 300))
    at = frame.index((300 - 256).to_bytes(2, "little"))
    frame[at : at + 2] = (size - 256).to_bytes(2, "little")
    return bytes(frame)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not zstd at all",
        _bomb(),
        _lying(400),
        _lying(257),
        zstandard.ZstdCompressor().compress(b"a" * 300)[:-1],
        zstandard.ZstdCompressor().compress(b"a" * 300) + b"x",
        zstandard.ZstdCompressor(write_content_size=False).compress(b"a" * 300),
    ],
    ids=["empty", "garbage", "bomb", "too short", "too long", "cut", "followed", "no size"],
)
def test_a_bad_zstd_frame_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decompress(ZSTD, data, limit=1 << 20)


def test_an_unknown_codec_and_a_long_payload_are_refused() -> None:
    with pytest.raises(ProtocolError, match="codec 9"):
        decompress(9, b"x")
    with pytest.raises(ProtocolError, match="longer"):
        decompress(NONE, b"xx", limit=1)


@settings(max_examples=examples(100), deadline=None)
@given(st.binary(min_size=0, max_size=70_000), st.randoms(use_true_random=False))
def test_chunks_come_together_in_any_order_and_twice(payload: bytes, random: object) -> None:
    parts = list(enumerate(split(payload)))
    order = parts + parts[:-1]
    random.shuffle(order)
    together, whole = Reassembly(), None
    for index, part in order:
        assert len(part) <= CHUNK_BYTES
        whole = together.add(1, index, len(parts), 0, part) or whole
    assert (whole or b"") == payload


def test_incomplete_payloads_are_bounded_in_number_and_bytes() -> None:
    together = Reassembly(most=8, limit_bytes=100_000)
    for key in range(20):
        assert together.add(key, 0, 2, 0, b"x" * CHUNK_BYTES) is None
        assert len(together) <= 8
        assert together.size_bytes <= 100_000
    assert together.given_up == 20 - 6
    assert together.add(19, 1, 2, 0, b"y") == b"x" * CHUNK_BYTES + b"y"
    assert together.add(0, 1, 2, 0, b"y") is None, "its first chunk had given way"


@pytest.mark.parametrize(("index", "count", "size"), [(0, 0, 1), (2, 2, 1), (0, 65, 1), (0, 2, CHUNK_BYTES + 1)])
def test_chunks_outside_the_bounds_are_refused(index: int, count: int, size: int) -> None:
    with pytest.raises(ProtocolError):
        Reassembly().add(1, index, count, 0, b"x" * size)


def test_a_payload_longer_than_a_message_is_not_cut() -> None:
    with pytest.raises(ProtocolError):
        split(bytes((1 << 20) + 1))


def test_topics_name_device_shard_and_kind() -> None:
    topic = topics.up("edge-1.region-1", "case")
    assert topics.parse_up(topic) == topics.UpTopic(device="edge-1.region-1", shard=topics.shard_of("edge-1.region-1"), kind="case")
    wrong = (topics.shard_of("edge-1.region-1") + 1) % topics.SHARDS
    for bad in (f"t/edge-1.region-1/up/{wrong:02d}/case", topic + "/x", "t/Edge/up/00/case", topic[:-4] + "hint", ""):
        with pytest.raises(ProtocolError):
            topics.parse_up(bad)


@settings(max_examples=examples(300), deadline=None)
@given(st.binary(max_size=300), st.sampled_from([messages.Case, messages.Receipt, messages.Answer, messages.KeyAnnouncement]))
def test_arbitrary_bytes_are_a_message_or_a_protocol_error(data: bytes, kind: type) -> None:
    try:
        decoded = messages.decode(kind, data)
    except ProtocolError:
        return
    assert messages.decode(kind, messages.encode(decoded)) == decoded


def test_an_overlong_message_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(ProtocolError, match="longer"):
        messages.decode(messages.Credit, bytes(messages.LARGEST_MESSAGE_BYTES + 1))
