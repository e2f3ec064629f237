"""Size classes: what a filled message's length says, and that filling is taken off again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ProtocolError
from shared.wire.chunks import CHUNK_BYTES, split
from shared.wire.envelope import OVERHEAD_BYTES, SUITES, Opener, Sealer
from shared.wire.keys import EpochKeys
from shared.wire.messages import LARGEST_MESSAGE_BYTES, Kind
from shared.wire.padding import SMALLEST_BYTES, padme, strip
from tests.examples import examples

KEYS = EpochKeys.from_prk(bytes(range(32)))


@settings(max_examples=examples(500), deadline=None)
@given(st.integers(0, LARGEST_MESSAGE_BYTES), st.integers(0, 1000))
def test_classes_only_grow_by_at_most_an_eighth_and_never_into_another_chunk(size: int, more: int) -> None:
    filled = padme(size)
    assert size <= filled <= max(SMALLEST_BYTES, size * 1.12)
    assert padme(filled) == filled
    assert padme(size + more) >= filled
    assert filled <= CHUNK_BYTES * max(1, -(-size // CHUNK_BYTES))


def test_a_megabyte_of_lengths_falls_into_few_classes() -> None:
    assert len({padme(size) for size in range(LARGEST_MESSAGE_BYTES)}) == 257


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("size", [0, 1, 255, 256, 5000, CHUNK_BYTES, CHUNK_BYTES + 1, 40_000])
def test_filled_messages_open_to_what_was_sealed(suite: int, size: int) -> None:
    payload = bytes(size - 1) + b"\x80" if size else b""  # ends as filling would
    sealer, opener = Sealer(KEYS, epoch=1, suite=suite, is_padded=True), Opener(KEYS, epoch=1, suite=suite)
    parts = split(payload)
    sealed = [sealer.seal(Kind.CASE, part, index=number, count=len(parts), codec=1) for number, part in enumerate(parts)]
    opened = [opener.open(data) for data in sealed]
    assert b"".join(one.payload for one in opened) == payload
    assert {one.header.codec for one in opened} == {1}
    assert sum(map(len, sealed)) == padme(size) + 1 + OVERHEAD_BYTES * len(parts)


def test_lengths_within_a_class_cannot_be_told_apart() -> None:
    sealer = Sealer(KEYS, epoch=1, suite=1, is_padded=True)
    assert len({len(sealer.seal(Kind.TELEMETRY, bytes(size))) for size in range(SMALLEST_BYTES + 1)}) == 1
    assert len({len(sealer.seal(Kind.CASE, bytes(size), sequence=size)) for size in range(29_697, 30_721)}) == 1


@settings(max_examples=examples(200), deadline=None)
@given(st.binary(max_size=200))
def test_filling_without_its_end_is_refused(data: bytes) -> None:
    try:
        bare = strip(data)
    except ProtocolError:
        assert not data.rstrip(b"\x00").endswith(b"\x80")
    else:
        assert data.startswith(bare + b"\x80")
