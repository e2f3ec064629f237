"""Which codec is taken, what dictionaries save, and that nothing but messages is learned."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InputError, ProtocolError
from shared.link.dictionaries import DictionaryFolder
from shared.wire import compression
from shared.wire.compression import (
    AS_IT_IS,
    NONE,
    ZSTD,
    ZSTD_DICTIONARY,
    Compressor,
    Cost,
    Decompressor,
    UnknownDictionaryError,
    Way,
    cheapest,
)
from shared.wire.dictionary import Dictionary, bare, read_dictionary, train
from shared.wire.messages import Case, Kind, Picture, Prediction, StreamCounts, Telemetry, encode
from shared.wire.shelf import MOST_KEPT, Shelf
from tests.examples import examples


def telemetry(number: int) -> bytes:
    counts = tuple(
        StreamCounts(stream=f"line-{n}", frames=number * 20, dropped=n, kept=number * 18, deferred=number, audited=n) for n in (1, 2)
    )
    message = Telemetry(
        at=1.8e9 + number * 2.01, floor=65_540 + number, release=7, update_state="idle", streams=counts, spool_cases=3, spool_bytes=6000
    )
    return encode(message)


def a_case(number: int, picture: bytes = b"") -> Case:
    weights = [random.Random(number + n).random() for n in range(6)]
    return Case(
        stream="line-1", frame=number, unit=f"board-{number:05}", captured_at=1.8e9 + number / 7, reason="margin", is_audit=False,
        score=weights[0], threshold=0.5, release=7, prediction=Prediction(index=1, probabilities=tuple(weights)),
        picture=Picture(codec="webp", width=96, height=96, data=picture),
    )  # fmt: skip


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    return train([Kind.TELEMETRY], [telemetry(number) for number in range(500)])


class Watch:
    """A clock on which each compression takes a millisecond for each byte of `slow`."""

    def __init__(self, step_s: float) -> None:
        self.now, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.binary(max_size=3000), max_size=8), st.sampled_from([Kind.TELEMETRY, Kind.CASE, Kind.ANSWER]), st.floats(0, 1e9))
def test_compression_gives_back_what_it_was_given(payloads: list[bytes], kind: Kind, rate: float) -> None:
    compressor = Compressor(clock=Watch(1e-5))
    for payload in payloads:
        codec, coded = compressor.compress(kind, payload, rate_bytes_per_s=rate)
        assert compression.decompress(codec, coded, limit=3000) == payload
        assert len(coded) <= len(payload)


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1e-5), st.floats(0.5, 50)), min_size=1, max_size=6), st.integers(1, 1 << 20), st.floats(1e3, 1e9))
def test_the_cheapest_way_is_never_dearer_than_sending_as_it_is(measured: list[tuple[float, float]], size: int, rate: float) -> None:
    costs = {}
    for level, (spent, ratio) in enumerate(measured):
        cost = costs[Way(ZSTD, level)] = Cost()
        cost.seconds_per_byte, cost.ratio = spent, ratio
    best = cheapest(size, costs, rate)
    least = size / rate if best is AS_IT_IS else costs[best].seconds(size, rate)
    assert all(cost.ratio < 1.05 or least <= cost.seconds(size, rate) for cost in costs.values())
    assert least <= size / rate


def test_a_slow_processor_on_a_fast_link_sends_as_it_is_and_the_other_way_round() -> None:
    payload = b"a page of numbers: " * 500
    for step_s, rate, compressed in ((1.0, 1e8, False), (1e-4, 1e4, True)):
        compressor = Compressor(clock=Watch(step_s))
        codecs = [compressor.compress(Kind.TELEMETRY, payload, rate_bytes_per_s=rate)[0] for _ in range(64)]
        assert codecs[:6] == [ZSTD] * 6, "each level is tried twice"
        assert codecs[6:30] == [ZSTD if compressed else NONE] * 24
        assert ZSTD in codecs[30:], "and one again now and then"


def test_what_does_not_get_shorter_travels_as_it_is() -> None:
    compressor = Compressor(clock=float)
    assert {compressor.compress(Kind.CASE, os.urandom(5000))[0] for _ in range(20)} == {NONE}


def test_pictures_beyond_a_chunk_are_not_even_tried() -> None:
    watch = Watch(1.0)
    assert Compressor(clock=watch).compress(Kind.CASE, bytes(16_385)) == (NONE, bytes(16_385))
    assert watch.now == 0


def test_a_dictionary_is_used_towards_who_has_it_and_by_who_has_it(dictionary: Dictionary) -> None:
    compressor = Compressor(clock=float, shelf=Shelf([dictionary]))
    plain = [compressor.compress(Kind.TELEMETRY, telemetry(1000 + n)) for n in range(12)]
    short = [compressor.compress(Kind.TELEMETRY, telemetry(1000 + n), reads=[dictionary.digest]) for n in range(12)]
    assert {codec for codec, _ in plain} <= {NONE, ZSTD}
    assert [codec for codec, _ in short[8:]] == [ZSTD_DICTIONARY] * 4
    assert sum(len(data) for _, data in short[8:]) < 0.8 * sum(len(data) for _, data in plain[8:])
    codec, data = short[-1]
    assert Decompressor(Shelf([dictionary]).find).decompress(codec, data) == telemetry(1011)
    with pytest.raises(UnknownDictionaryError):
        Decompressor(Shelf().find).decompress(codec, data)
    assert compressor.compress(Kind.ANSWER, telemetry(1), reads=[dictionary.digest])[0] != ZSTD_DICTIONARY, "it is for telemetry"


def test_a_bomb_under_a_dictionary_is_refused_before_memory_is_taken(dictionary: Dictionary) -> None:
    coder = zstandard.ZstdCompressor(level=19, dict_data=zstandard.ZstdCompressionDict(dictionary.data))
    bomb = coder.compress(bytes(50_000_000))[4:]
    with pytest.raises(ProtocolError, match="outside 0 to"):
        Decompressor(Shelf([dictionary]).find).decompress(ZSTD_DICTIONARY, bomb)


@settings(max_examples=examples(200), deadline=None)
@given(data=st.data())
def test_arbitrary_and_damaged_messages_under_a_dictionary_are_protocol_errors(data: st.DataObject, dictionary: Dictionary) -> None:
    compressor = Compressor(clock=float, shelf=Shelf([dictionary]))
    whole = [compressor.compress(Kind.TELEMETRY, telemetry(n), reads=[dictionary.digest])[1] for n in range(12)][-1]
    damaged = bytearray(data.draw(st.one_of(st.binary(max_size=100), st.just(whole))))
    if damaged:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(0, 255))
    try:
        assert len(Decompressor(Shelf([dictionary]).find).decompress(ZSTD_DICTIONARY, bytes(damaged), limit=4096)) <= 4096
    except ProtocolError:
        pass


@settings(max_examples=examples(100), deadline=None)
@given(data=st.data())
def test_what_is_no_dictionary_is_refused(data: st.DataObject, dictionary: Dictionary) -> None:
    file = bytearray(encode(dictionary))
    at = data.draw(st.integers(0, len(file) - 1))
    file[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ProtocolError):
        read_dictionary(bytes(file), dictionary.digest)
    try:
        assert read_dictionary(bytes(file)).kinds != dictionary.kinds, "its own id covers the rest"
    except ProtocolError:
        pass


def test_dictionaries_too_long_or_another_s_are_refused(dictionary: Dictionary) -> None:
    assert read_dictionary(encode(dictionary), hashlib.sha256(encode(dictionary)).digest()) == dictionary
    for file, digest in ((bytes(70_000), None), (encode(dictionary), bytes(32)), (b"\x92\x91\x03\xc4\x04abcd", None)):
        with pytest.raises(ProtocolError):
            read_dictionary(file, digest)


def test_nothing_of_a_picture_is_in_a_dictionary() -> None:
    """Pictures that are all alike: a dictionary that saw them would hold their bytes."""
    secret = b"these bytes are a picture's and nobody else's"
    cases = [a_case(number, picture=secret * 4) for number in range(300)]
    assert secret in train([Kind.CASE], [encode(case) for case in cases]).data, "the control: it would have been learned"
    learned = train([Kind.CASE], [bare(case) for case in cases])
    assert not any(secret[at : at + 8] in learned.data for at in range(len(secret) - 8))


def test_too_few_messages_teach_nothing() -> None:
    with pytest.raises(InputError, match="too few"):
        train([Kind.TELEMETRY], [telemetry(1)] * 10)


def test_a_folder_keeps_the_newest_and_skips_what_is_none(tmp_path: Path, dictionary: Dictionary) -> None:
    folder = DictionaryFolder(tmp_path / "dictionaries")
    others = [train([Kind.ANSWER], [telemetry(seed * 1000 + n) for n in range(200)]) for seed in range(1, MOST_KEPT + 2)]
    for one in (*others, dictionary):
        path = folder.put(one)
        os.utime(path, ns=(0, 10**9 * (len(folder.shelf.digests) + len(list(path.parent.iterdir())))))
    assert folder.shelf.digests[0] == dictionary.digest
    assert len(list(path.parent.iterdir())) == MOST_KEPT
    (path.parent / f"{'ab' * 32}.zdict").write_bytes(b"no dictionary")
    again = DictionaryFolder(tmp_path / "dictionaries")
    again.refresh()
    assert again.find(dictionary.id) == dictionary
    assert again.find(12345) is None
