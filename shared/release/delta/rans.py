"""An entropy coder that numpy can step: interleaved rANS states (lanes), each symbol with a probability of its own. Pure, integers only.

Source: Duda, "Asymmetric numeral systems" (2014); Giesen, "Interleaved entropy coders" (2014). States are 32 bits in [2^16, 2^32), words 16
bits, probabilities out of 2^16; one step reads at most one word per lane, so a step is a dozen numpy calls on all lanes at once, and the
same bits on every CPU.

Symbol number i of a call lies in lane i modulo the number of lanes. Both coders have the same two verbs, so that one model serves both
directions: the encoder takes `values` and returns them, the decoder ignores them and returns what was coded.

    pick   a symbol of a table, by context
    raw    up to 16 bits that nothing is known of

Example:
    >>> encoder = Encoder()
    >>> bits = np.array([3, 3, 3], np.uint32)
    >>> _ = encoder.raw(bits, np.array([1, 7, 0], np.uint32))
    >>> Decoder(encoder.finish(lanes=2), lanes=2).raw(bits, None).tolist()
    [1, 7, 0]
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from shared.errors import ProtocolError

BITS = 16
ONE = 1 << BITS
"""A probability of 1."""
MOST_LANES = 4096
LANE_BYTES = 4
_LOW = np.uint32(ONE - 1)
_SHIFT = np.uint32(BITS)

Words = npt.NDArray[np.uint32]
Indices = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


class Spread(Protocol):
    """A table of distributions: `symbols` per context, laid out flat; see tables.Table."""

    @property
    def symbols(self) -> int:
        """How many symbols a context has."""

    @property
    def starts(self) -> Words:
        """Context << 16 | start, ascending; uint32 (contexts * symbols,)."""

    @property
    def widths(self) -> Words:
        """Width of each symbol, 1..65535; uint32 (contexts * symbols,)."""


class Coder(Protocol):
    """What a model needs of either direction."""

    def pick(self, table: Spread, contexts: Indices, values: Indices | None) -> Indices:
        """Code one symbol per context."""

    def raw(self, widths: Words, values: Words | None) -> Words:
        """Code numbers of `widths` bits, each 0..16."""


class Encoder:
    """Collects symbols in order; the bits are made at the end, from the last symbol to the first, as rANS wants it."""

    def __init__(self) -> None:
        self._calls: list[tuple[Words, Words]] = []

    def pick(self, table: Spread, contexts: Indices, values: Indices | None) -> Indices:
        """Take one symbol per context."""
        assert values is not None  # noqa: S101 - the model's other direction
        places = contexts * table.symbols + values
        self._calls.append((table.starts[places] & _LOW, table.widths[places]))
        return values

    def raw(self, widths: Words, values: Words | None) -> Words:
        """Take numbers of `widths` bits."""
        assert values is not None  # noqa: S101
        spare = _SHIFT - widths
        self._calls.append((values << spare, np.uint32(1) << spare))
        return values

    def information_bits(self) -> float:
        """Return what the symbols taken so far cost at least, in bits; for choosing lanes and for measuring, never for decoding."""
        return float(sum((BITS - np.log2(widths)).sum() for _, widths in self._calls))

    def finish(self, *, lanes: int) -> bytes:
        """Return the coded bytes: the lanes' states (u32 each, little-endian), then words (u16 each)."""
        states = np.full(lanes, ONE, np.uint32)
        written: list[npt.NDArray[np.uint16]] = []
        for starts, widths in reversed(self._calls):
            for at in range((len(starts) - 1) // lanes * lanes, -1, -lanes):
                _push(states, starts[at : at + lanes], widths[at : at + lanes], written)
        words = np.concatenate(written[::-1]) if written else np.zeros(0, np.uint16)
        return states.astype("<u4").tobytes() + words.astype("<u2").tobytes()


def _push(states: Words, starts: Words, widths: Words, written: list[npt.NDArray[np.uint16]]) -> None:
    some = states[: len(starts)]
    full = (some >> _SHIFT) >= widths
    if full.any():
        written.append((some[full] & _LOW).astype(np.uint16))
        some[full] >>= _SHIFT
    quotient, rest = np.divmod(some, widths)
    some[:] = (quotient << _SHIFT) + rest + starts


class Decoder:
    """Reads back what an Encoder took, asked in the same order with the same tables.

    Args:
        data: what `finish` returned.
        lanes: as given to `finish`.

    Raises:
        ProtocolError: the bytes cannot be that.
    """

    def __init__(self, data: bytes | memoryview, *, lanes: int) -> None:
        if not 0 < lanes <= MOST_LANES or len(data) < LANE_BYTES * lanes or len(data) % 2:
            raise ProtocolError("a coded block of the delta is too short for its lanes.")
        self._states = np.frombuffer(data, "<u4", lanes).astype(np.uint32)
        self._words = np.frombuffer(data, "<u2", offset=LANE_BYTES * lanes)
        self._place = 0
        self._lanes = lanes
        if (self._states < ONE).any():
            raise ProtocolError("a coded block of the delta begins in an impossible state.")

    def pick(self, table: Spread, contexts: Indices, values: Indices | None) -> Indices:
        """Return one symbol per context."""
        del values
        starts, widths = table.starts, table.widths
        first, bounds = contexts * table.symbols, contexts.astype(np.uint32) << _SHIFT
        whole, found = widths[first], np.zeros(len(contexts), np.int64)
        for at in range(0, len(contexts), self._lanes):
            usual = whole[at : at + self._lanes]
            some = self._states[: len(usual)]
            slots = some & _LOW
            some >>= _SHIFT
            others = (slots >= usual).nonzero()[0]  # the first symbol is the usual one: all lanes take it, the others are put right
            places = np.searchsorted(starts, bounds[at + others] | slots[others], "right") - 1
            right = some[others] * widths[places] + slots[others] - (starts[places] & _LOW)
            some *= usual
            some += slots
            some[others] = right
            found[at + others] = places - first[at + others]
            self._refill(some)
        return found

    def raw(self, widths: Words, values: Words | None) -> Words:
        """Return numbers of `widths` bits."""
        del values
        found = np.empty(len(widths), np.uint32)
        for at in range(0, len(widths), self._lanes):
            spare = _SHIFT - widths[at : at + self._lanes]
            some = self._states[: len(spare)]
            slots = some & _LOW
            numbers = slots >> spare
            found[at : at + self._lanes] = numbers
            some >>= _SHIFT
            some <<= spare
            some += slots - (numbers << spare)
            self._refill(some)
        return found

    def _refill(self, some: Words) -> None:
        """Read a word into each lane that ran low."""
        empty = (some < ONE).nonzero()[0]
        end = self._place + len(empty)
        if end > len(self._words):
            raise ProtocolError("a coded block of the delta is cut short.")
        some[empty] = (some[empty] << _SHIFT) | self._words[self._place : end]
        self._place = end

    def finish(self) -> None:
        """Check that everything was read and that the lanes are where the encoder began.

        Raises:
            ProtocolError: they are not: the block was damaged, or made for another base.
        """
        if self._place != len(self._words) or (self._states != ONE).any():
            raise ProtocolError("a coded block of the delta does not end where it should.")
