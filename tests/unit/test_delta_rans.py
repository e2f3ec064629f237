"""The entropy coder: what goes in comes out, at nearly the cost that information theory asks; damage is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ProtocolError
from shared.release.delta.rans import MOST_LANES, ONE, Coder, Decoder, Encoder, Indices, Words
from shared.release.delta.tables import LARGEST_TOTAL, STEP, Table
from tests.examples import examples

SYMBOLS = 7


def prior(contexts: int = 4) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.ones((contexts, SYMBOLS), np.int64)


class Story:
    """A sequence of calls of both verbs with tables that learn, the same for both directions."""

    def __init__(self, seed: int, calls: int, size: int) -> None:
        rng = np.random.default_rng(seed)
        self.contexts = [rng.integers(0, 4, rng.integers(0, size + 1)).astype(np.int64) for _ in range(calls)]
        self.symbols = [np.minimum(rng.geometric(0.6, len(one)) - 1, SYMBOLS - 1).astype(np.int64) for one in self.contexts]
        self.widths = [rng.integers(0, 17, len(one)).astype(np.uint32) for one in self.contexts]
        self.numbers = [(rng.integers(0, ONE, len(one)) >> (16 - one)).astype(np.uint32) for one in self.widths]

    def tell(self, coder: Coder, *, known: bool) -> list[list[int]]:
        table, told = Table(prior()), []
        for index, contexts in enumerate(self.contexts):
            picked = coder.pick(table, contexts, self.symbols[index] if known else None)
            table.learn(contexts, picked)
            numbers = coder.raw(self.widths[index], self.numbers[index] if known else None)
            told += [picked.tolist(), numbers.tolist()]
        return told


@given(st.integers(0, 2**32), st.integers(0, 5), st.integers(0, 300), st.sampled_from([1, 2, 16, 64, 1000]))
@settings(max_examples=examples(60), deadline=None)
def test_both_directions_tell_the_same_story(seed: int, calls: int, size: int, lanes: int) -> None:
    story, encoder = Story(seed, calls, size), Encoder()
    told = story.tell(encoder, known=True)
    decoder = Decoder(encoder.finish(lanes=lanes), lanes=lanes)
    assert story.tell(decoder, known=False) == told
    decoder.finish()


def test_symbols_cost_little_more_than_their_information() -> None:
    story, encoder = Story(1, 5, 40_000), Encoder()
    story.tell(encoder, known=True)
    assert len(encoder.finish(lanes=64)) * 8 < encoder.information_bits() * 1.001 + 64 * 32


def test_a_table_learns_a_skewed_source() -> None:
    rng = np.random.default_rng(0)
    bits = (rng.random(20_000) < 0.02).astype(np.int64)
    table, encoder = Table(np.full((1, 2), STEP, np.int64)), Encoder()
    for part in np.split(bits, [20, 60, 200, 600, 2000, 6000]):
        contexts: Indices = np.zeros(len(part), np.int64)
        encoder.pick(table, contexts, part)
        table.learn(contexts, part)
    share = bits.mean()
    entropy = -(share * np.log2(share) + (1 - share) * np.log2(1 - share)) * len(bits)
    assert encoder.information_bits() < entropy * 1.04


def test_a_tables_widths_always_fill_the_whole() -> None:
    table = Table(np.array([[1, LARGEST_TOTAL, 1], [5, 5, 5], [1, 1, 1]], np.int64))
    many: Indices = np.zeros(100_000, np.int64)
    for _ in range(3):
        table.learn(many, many)
        widths: Words = table.widths.reshape(3, 3)
        assert (widths.sum(axis=1) == ONE).all()
        assert widths.min() >= 1
        assert (np.diff(table.starts.astype(np.int64)) > 0).all()


@given(st.integers(0, 2**32), st.data())
@settings(max_examples=examples(60), deadline=None)
def test_damage_is_refused_or_told_by_other_symbols(seed: int, data: st.DataObject) -> None:
    story, encoder = Story(seed, 2, 60), Encoder()
    told = story.tell(encoder, known=True)
    whole = bytearray(encoder.finish(lanes=16))
    at = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[at // 8] ^= 1 << (at % 8)
    try:
        decoder = Decoder(bytes(whole), lanes=16)
        again = story.tell(decoder, known=False)
        decoder.finish()
    except ProtocolError:
        return
    assert again != told


def test_what_is_cut_short_or_has_no_lanes_is_refused() -> None:
    story, encoder = Story(3, 2, 200), Encoder()
    story.tell(encoder, known=True)
    whole = encoder.finish(lanes=16)
    with pytest.raises(ProtocolError, match="cut short"):
        story.tell(Decoder(whole[:-2], lanes=16), known=False)
    for data, lanes in ((whole[:30], 16), (whole, 0), (whole, MOST_LANES + 1), (whole[:-1], 16), (bytes(64), 16)):
        with pytest.raises(ProtocolError):
            Decoder(data, lanes=lanes)
    decoder = Decoder(whole + b"\0\0", lanes=16)
    story.tell(decoder, known=False)
    with pytest.raises(ProtocolError, match="end where it should"):
        decoder.finish()
