"""Small messages that share an envelope: packed, unpacked, bounded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ProtocolError
from shared.wire import frame
from shared.wire.frame import FRAME_BYTES, KINDS, MOST_PARTS, PART_BYTES, Part, pack, unpack
from shared.wire.messages import Kind
from tests.examples import examples

PARTS = st.builds(Part, kind=st.sampled_from(KINDS), sequence=st.integers(0, 2**64 - 1), payload=st.binary(max_size=200))


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=MOST_PARTS))
def test_a_frame_gives_back_what_was_packed(parts: list[Part]) -> None:
    data = pack(parts)
    assert unpack(data) == tuple(parts)
    assert len(data) == frame.size_of([len(part.payload) for part in parts]) <= FRAME_BYTES


@settings(max_examples=examples(300), deadline=None)
@given(st.one_of(st.binary(max_size=300), st.lists(PARTS, min_size=1, max_size=5).map(pack)), st.data())
def test_arbitrary_and_damaged_frames_are_frames_or_protocol_errors(data: bytes, more: st.DataObject) -> None:
    damaged = bytearray(data)
    if damaged:
        damaged[more.draw(st.integers(0, len(damaged) - 1))] = more.draw(st.integers(0, 255))
    try:
        parts = unpack(bytes(damaged))
    except ProtocolError:
        return
    assert pack(parts) == bytes(damaged)


def test_a_frame_holds_one_chunk_and_few_messages() -> None:
    whole = Part(kind=Kind.CASE, payload=bytes(FRAME_BYTES - PART_BYTES))
    assert unpack(pack([whole])) == (whole,)
    for parts in ([], [whole, Part(kind=Kind.CASE, payload=b"")], [Part(kind=Kind.CASE, payload=b"")] * (MOST_PARTS + 1)):
        with pytest.raises(ProtocolError):
            pack(parts)
    with pytest.raises(ProtocolError, match="more than 64"):
        unpack(pack([Part(kind=Kind.CASE, payload=b"")] * MOST_PARTS) + pack([Part(kind=Kind.CASE, payload=b"")]))
    with pytest.raises(ProtocolError, match="outside"):
        unpack(bytes(FRAME_BYTES + 1))


@pytest.mark.parametrize("kind", [Kind.FRAME, Kind.OPEN, Kind.RECEIPT])
def test_frames_hold_neither_frames_nor_the_regions_words(kind: Kind) -> None:
    with pytest.raises(ProtocolError):
        pack([Part(kind=kind, payload=b"x")])
    with pytest.raises(ProtocolError, match="does not travel"):
        unpack(bytes([kind]) + bytes(10))
