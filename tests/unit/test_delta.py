"""The delta codec: whatever goes in comes out, and nothing damaged, foreign or oversized is believed."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ProtocolError, TrustError
from shared.release import delta
from shared.release.delta.container import checksum
from tests.examples import examples


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def rebuild(old: bytes, container: bytes, new: bytes) -> bytes:
    return delta.apply(old, container, expect_sha256=sha(new), limit_bytes=len(new))


def model(size: int = 40_000, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8).tobytes()


@given(st.binary(max_size=2000), st.binary(max_size=2000))
@settings(max_examples=examples(150), deadline=None)
def test_any_two_files_round_trip(old: bytes, new: bytes) -> None:
    assert rebuild(old, delta.make(old, new), new) == new


@given(st.binary(min_size=1, max_size=3000), st.data())
@settings(max_examples=examples(100), deadline=None)
def test_edited_files_round_trip(old: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(old) - 1))
    patch = data.draw(st.binary(max_size=50))
    new = old[:at] + patch + old[at + data.draw(st.integers(0, 50)) :]
    assert rebuild(old, delta.make(old, new), new) == new


def test_each_codec_wins_where_it_should() -> None:
    old = model()
    moved = np.frombuffer(old, np.uint8).copy()
    moved[::20] += 1
    inserted = old[:20_000] + b"a new tensor" + old[20_000:]
    for new, codec in ((moved.tobytes(), delta.SUBTRACT), (inserted, delta.PREFIX), (b"x" * 500, delta.FULL)):
        base = old if codec != delta.FULL else b"little"
        container = delta.make(base, new)
        assert delta.read_header(container).codec == codec
        assert rebuild(base, container, new) == new
    assert len(delta.make(old, moved.tobytes())) < len(old) // 10
    assert len(delta.make(old, inserted)) < 300


def test_unrelated_files_cost_hardly_more_than_the_file() -> None:
    new = model(seed=1)
    assert len(delta.make(model(), new)) < len(new) + 200


@given(st.integers(0, 10_000))
@settings(max_examples=examples(200), deadline=None)
def test_every_flipped_bit_is_refused(position: int) -> None:
    old, new = b"weights " * 200, b"weights " * 150 + b"WEIGHTS " * 50
    damaged = bytearray(delta.make(old, new))
    damaged[(position // 8) % len(damaged)] ^= 1 << (position % 8)
    with pytest.raises((ProtocolError, TrustError)):
        rebuild(old, bytes(damaged), new)


def test_every_truncation_is_refused() -> None:
    old, new = b"weights " * 200, b"weights " * 199 + b"WEIGHTS!"
    whole = delta.make(old, new)
    for length in range(len(whole)):
        with pytest.raises(ProtocolError):
            rebuild(old, whole[:length], new)
    with pytest.raises(ProtocolError):
        rebuild(old, whole + b"\0", new)


def test_a_foreign_base_or_result_is_refused() -> None:
    old, new = model(), model(seed=2)
    container = delta.make(old, new)
    with pytest.raises(TrustError, match="another file than this device"):
        rebuild(model(seed=3), container, new)
    with pytest.raises(TrustError, match="signed metadata names"):
        delta.apply(old, container, expect_sha256=sha(old), limit_bytes=len(new))


def forged(old: bytes, new: bytes, payload: bytes, *, codec: int, length: int) -> bytes:
    """Return a container with a right checksum, as an attacker would make it."""
    header = struct.pack(">4sBB32s32sQ", b"TDLT", 1, codec, delta.digest(old), delta.digest(new), length)
    return header + struct.pack(">I", checksum(header, payload)) + payload


def test_a_bomb_is_refused_before_memory_is_taken() -> None:
    old, new = b"old", b"new"
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 26))
    with pytest.raises(TrustError, match="signed metadata allows"):
        delta.apply(old, forged(old, new, bomb, codec=delta.FULL, length=1 << 26), expect_sha256=sha(new), limit_bytes=3)
    with pytest.raises(ProtocolError, match="another size"):
        delta.apply(old, forged(old, new, bomb, codec=delta.FULL, length=3), expect_sha256=sha(new), limit_bytes=3)
    stream = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    unsized = stream.compress(bytes(1 << 20)) + stream.flush()
    with pytest.raises(ProtocolError):
        delta.apply(old, forged(old, new, unsized, codec=delta.FULL, length=3), expect_sha256=sha(new), limit_bytes=3)


def test_a_forged_result_is_refused() -> None:
    old, new = b"old", b"new"
    payload = zstandard.ZstdCompressor().compress(b"bad")
    with pytest.raises(TrustError, match="another hash"):
        delta.apply(old, forged(old, new, payload, codec=delta.FULL, length=3), expect_sha256=sha(new), limit_bytes=3)
    with pytest.raises(ProtocolError, match="not known"):
        delta.apply(old, forged(old, new, payload, codec=9, length=3), expect_sha256=sha(new), limit_bytes=3)
    with pytest.raises(ProtocolError, match="keep the length"):
        delta.apply(b"longer", forged(b"longer", new, payload, codec=delta.SUBTRACT, length=3), expect_sha256=sha(new), limit_bytes=3)
