"""An entropy coder that numpy can step: interleaved rANS states (lanes), each symbol with a probability of its own. Pure, integers only.

Source: Duda, "Asymmetric numeral systems" (2014); Giesen, "Interleaved entropy coders" (2014). States are 32 bits in [2^16, 2^32), words 16
bits, probabilities out of 2^16; one step reads at most one word per lane, so a step is a dozen numpy calls on all lanes at once, and the
same bits on every CPU.

Symbol number i of a call lies in lane i modulo the number of lanes. Both coders have the same three verbs, so that one model serves both
directions: the encoder takes `values` and returns them, the decoder ignores them and returns what was coded.

    pick   a symbol of a table, by context
    flip   a bit with a given probability
    raw    up to 16 bits that nothing is known of

Example:
    >>> encoder = Encoder()
    >>> bits = np.array([True, False, False])
    >>> _ = encoder.flip(np.full(3, 40_000, np.uint32), bits)
    >>> Decoder(encoder.finish(lanes=2), lanes=2).flip(np.full(3, 40_000, np.uint32), None).tolist()
    [True, False, False]
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
Bits = npt.NDArray[np.bool_]
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

    def flip(self, zeros: Words, values: Bits | None) -> Bits:
        """Code one bit each; `zeros` is the probability of False in 1..65535."""

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

    def flip(self, zeros: Words, values: Bits | None) -> Bits:
        """Take one bit each."""
        assert values is not None  # noqa: S101
        self._calls.append((np.where(values, zeros, np.uint32(0)), np.where(values, np.uint32(ONE) - zeros, zeros)))
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
        found = np.empty(len(contexts), np.int64)
        first = contexts * table.symbols
        whole, bounds = table.widths[first], contexts.astype(np.uint32) << _SHIFT
        for at in range(0, len(contexts), self._lanes):
            part = slice(at, at + self._lanes)
            slots = self._slots(len(first[part]))
            places = first[part].copy()
            others = np.flatnonzero(slots >= whole[part])  # the first symbol is the usual one
            places[others] = np.searchsorted(table.starts, bounds[part][others] | slots[others], "right") - 1
            found[part] = places
            self._take(slots, table.starts[places] & _LOW, table.widths[places])
        return found - first

    def flip(self, zeros: Words, values: Bits | None) -> Bits:
        """Return one bit each."""
        del values
        found = np.empty(len(zeros), np.bool_)
        for at in range(0, len(zeros), self._lanes):
            chance = zeros[at : at + self._lanes]
            slots = self._slots(len(chance))
            bits = slots >= chance
            found[at : at + self._lanes] = bits
            self._take(slots, np.where(bits, chance, np.uint32(0)), np.where(bits, np.uint32(ONE) - chance, chance))
        return found

    def raw(self, widths: Words, values: Words | None) -> Words:
        """Return numbers of `widths` bits."""
        del values
        found = np.empty(len(widths), np.uint32)
        for at in range(0, len(widths), self._lanes):
            spare = _SHIFT - widths[at : at + self._lanes]
            slots = self._slots(len(spare))
            numbers = slots >> spare
            found[at : at + self._lanes] = numbers
            self._take(slots, numbers << spare, np.uint32(1) << spare)
        return found

    def finish(self) -> None:
        """Check that everything was read and that the lanes are where the encoder began.

        Raises:
            ProtocolError: they are not: the block was damaged, or made for another base.
        """
        if self._place != len(self._words) or (self._states != ONE).any():
            raise ProtocolError("a coded block of the delta does not end where it should.")

    def _slots(self, count: int) -> Words:
        slots: Words = self._states[:count] & _LOW
        return slots

    def _take(self, slots: Words, starts: Words, widths: Words) -> None:
        some = self._states[: len(slots)]
        some >>= _SHIFT
        some *= widths
        some += slots
        some -= starts
        empty = np.flatnonzero(some < ONE)
        if not len(empty):
            return
        end = self._place + len(empty)
        if end > len(self._words):
            raise ProtocolError("a coded block of the delta is cut short.")
        some[empty] = (some[empty] << _SHIFT) | self._words[self._place : end]
        self._place = end
