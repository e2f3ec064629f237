"""Which codec a message's payload travels under, chosen by what it costs here, and bounded decompression. Pure: the clock is an argument.

A way is a codec and a level. What a way costs a payload of n bytes is n / (its measured speed) + n / (its measured ratio) / (the link's
rate); the cheapest is taken. Speed and ratio are kept per class (kind and size within a factor of two) and follow what is measured.

Rules, in order:
1. Cases beyond one chunk are pictures, which are compressed already: never compressed again. A small case has a head worth compressing.
2. A way whose ratio in this class is below 1.05 is not taken, nor is a result that turns out so: then the payload travels as it is.
3. Every way is tried twice per class, and one of them again at every 32nd message of it, the one tried longest ago. A time that is
   longer than the last ones is mostly another program's: it counts little, a shorter one much.
4. A dictionary is used towards whoever has said that it has it; a message names it by zstd's id.
5. A decoder believes no length before checking it: a zstd frame must state its size, the size must be within the caller's limit, and
   nothing may follow the frame.

Example:
    >>> codec, coded = Compressor(clock=iter(range(9)).__next__).compress(Kind.TELEMETRY, b"a" * 1000)
    >>> codec, decompress(codec, coded, limit=1000) == b"a" * 1000
    (1, True)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

import zstandard

from shared.errors import ProtocolError
from shared.wire.chunks import CHUNK_BYTES
from shared.wire.dictionary import Dictionary
from shared.wire.messages import CASES, LARGEST_MESSAGE_BYTES, Kind
from shared.wire.shelf import MOST_KEPT, Shelf

NONE, ZSTD, ZSTD_DICTIONARY = 0, 1, 2
LEVELS = (1, 3, 9)
DICTIONARY_LEVEL = 3
SHORTEST_BYTES = 64
"""Payloads below this are not worth a zstd frame without a dictionary."""
WORTH_IT = 1.05
ASSUMED_BYTES_PER_S = 1.25e6
"""A link of unknown rate is taken for one of 10 Mbit/s."""
TRIES, TRIED_AGAIN = 2, 32
_MAGIC = b"\x28\xb5\x2f\xfd"  # of every zstd frame; left out where the codec says already what follows
_GAIN, _GAIN_DOWN = 0.125, 0.5


class UnknownDictionaryError(ProtocolError):
    """A message needs a dictionary that is not here: whoever sent it should read the announcement again."""


class Way(NamedTuple):
    """A codec, a level, and the id of the dictionary (0 for none)."""

    codec: int
    level: int = 0
    dictionary: int = 0


AS_IT_IS = Way(NONE)


class Cost:
    """What one way has cost one class: seconds per byte, how many times shorter the result was, how often and when it was tried."""

    __slots__ = ("ratio", "seconds_per_byte", "tried", "tried_at")

    def __init__(self) -> None:
        self.seconds_per_byte = 0.0
        self.ratio = 1.0
        self.tried = 0
        self.tried_at = 0

    def note(self, size: int, coded: int, seconds: float, *, at: int) -> None:
        """Take a measurement; `at` is the number of the message in its class."""
        spent, ratio = seconds / size, size / coded
        if self.tried < TRIES:
            self.seconds_per_byte = min(spent, self.seconds_per_byte) if self.tried else spent
            self.ratio = ratio
        else:
            gain = _GAIN if spent > self.seconds_per_byte else _GAIN_DOWN
            self.seconds_per_byte += gain * (min(spent, 4 * self.seconds_per_byte) - self.seconds_per_byte)
            self.ratio += _GAIN * (ratio - self.ratio)
        self.tried += 1
        self.tried_at = at

    def seconds(self, size: int, rate_bytes_per_s: float) -> float:
        """Return what compressing and sending `size` bytes takes."""
        return size * self.seconds_per_byte + size / self.ratio / rate_bytes_per_s


def cheapest(size: int, costs: Mapping[Way, Cost], rate_bytes_per_s: float) -> Way:
    """Return the way that brings `size` bytes to the other side soonest (rule 2)."""
    best, least = AS_IT_IS, size / rate_bytes_per_s
    for way, cost in costs.items():
        seconds = cost.seconds(size, rate_bytes_per_s)
        if cost.ratio >= WORTH_IT and seconds < least:
            best, least = way, seconds
    return best


class _Class:
    """The ways of one class of messages, and how many messages it has had."""

    def __init__(self, ways: Iterable[Way]) -> None:
        self.costs = {way: Cost() for way in ways}
        self.messages = 0

    def choose(self, size: int, rate_bytes_per_s: float) -> Way:
        self.messages += 1
        oldest = min(self.costs, key=lambda way: (self.costs[way].tried >= TRIES, self.costs[way].tried_at))
        if self.costs[oldest].tried < TRIES or self.messages % TRIED_AGAIN == 0:
            return oldest
        return cheapest(size, self.costs, rate_bytes_per_s)


class Compressor:
    """Compresses one sender's messages. Not for several threads at once.

    Args:
        clock: returns monotonic seconds; read before and after each compression.
        shelf: dictionaries that may be used towards who has them.
    """

    def __init__(self, *, clock: Callable[[], float], shelf: Shelf | None = None) -> None:
        self._clock = clock
        self._shelf = shelf or Shelf()
        self._coders: dict[Way, zstandard.ZstdCompressor] = {}
        self._classes: dict[tuple[Kind, int, int], _Class] = {}

    def compress(self, kind: Kind, payload: bytes, *, rate_bytes_per_s: float = 0.0, reads: Collection[bytes] = ()) -> tuple[int, bytes]:
        """Return the codec and the coded payload.

        Args:
            kind: of the message.
            payload: what to send.
            rate_bytes_per_s: the link's rate, 0.0 where it is unknown.
            reads: digests of the dictionaries that the other side has.
        """
        dictionary = self._shelf.best(kind, reads)
        if not payload or len(payload) > _longest(kind) or (dictionary is None and len(payload) < SHORTEST_BYTES):
            return NONE, payload
        known = self._class(kind, len(payload), dictionary)
        way = known.choose(len(payload), rate_bytes_per_s or ASSUMED_BYTES_PER_S)
        if way is AS_IT_IS:
            return NONE, payload
        coder = self._coder(way, dictionary)
        began = self._clock()
        coded = coder.compress(payload)
        if way.codec == ZSTD_DICTIONARY:
            coded = coded[len(_MAGIC) :]
        known.costs[way].note(len(payload), len(coded), self._clock() - began, at=known.messages)
        return (way.codec, coded) if len(coded) * WORTH_IT <= len(payload) else (NONE, payload)

    def _class(self, kind: Kind, size: int, dictionary: Dictionary | None) -> _Class:
        key = (kind, size.bit_length(), dictionary.id if dictionary else 0)
        known = self._classes.get(key)
        if known is None:
            ways = [Way(ZSTD, level) for level in LEVELS]
            if dictionary is not None:
                ways.append(Way(ZSTD_DICTIONARY, DICTIONARY_LEVEL, dictionary.id))
            known = self._classes[key] = _Class(ways)
        return known

    def _coder(self, way: Way, dictionary: Dictionary | None) -> zstandard.ZstdCompressor:
        coder = self._coders.get(way)
        if coder is None:
            data = None if way.codec == ZSTD or dictionary is None else zstandard.ZstdCompressionDict(dictionary.data)
            coder = self._coders[way] = zstandard.ZstdCompressor(level=way.level, dict_data=data)
        return coder


class Decompressor:
    """Takes messages apart again, within bounds.

    Args:
        find: returns the dictionary of an id of zstd's, None where it is not here.
    """

    def __init__(self, find: Callable[[int], Dictionary | None]) -> None:
        self._find = find
        self._coders: dict[bytes, zstandard.ZstdDecompressor] = {}

    def decompress(self, codec: int, data: bytes, limit: int = LARGEST_MESSAGE_BYTES) -> bytes:
        """Return the payload of at most `limit` bytes.

        Raises:
            UnknownDictionaryError: it needs a dictionary that is not here.
            ProtocolError: unknown codec, damaged, longer than the limit, or not saying how long.
        """
        if codec != ZSTD_DICTIONARY:
            return decompress(codec, data, limit)
        frame = _MAGIC + data
        return _expand(self._coder(_dictionary_of(frame)), frame, limit)

    def _coder(self, number: int) -> zstandard.ZstdDecompressor:
        dictionary = self._find(number)
        if dictionary is None:
            raise UnknownDictionaryError(f"dictionary {number:08x} is not here.", "Its sender reads the announcement again.")
        coder = self._coders.get(dictionary.data)
        if coder is None:
            if len(self._coders) >= MOST_KEPT:
                self._coders.clear()
            coder = zstandard.ZstdDecompressor(dict_data=zstandard.ZstdCompressionDict(dictionary.data))
            self._coders[dictionary.data] = coder
        return coder


def decompress(codec: int, data: bytes, limit: int = LARGEST_MESSAGE_BYTES) -> bytes:
    """Return the payload of at most `limit` bytes of a message that needs no dictionary.

    Raises:
        ProtocolError: unknown codec, damaged, longer than the limit, or not saying how long.
    """
    if codec == NONE:
        if len(data) > limit:
            raise ProtocolError(f"a payload of {len(data)} bytes is longer than {limit}.")
        return data
    if codec != ZSTD:
        raise ProtocolError(f"codec {codec} is unknown.")
    return _expand(zstandard.ZstdDecompressor(), data, limit)


def _expand(coder: zstandard.ZstdDecompressor, frame: bytes, limit: int) -> bytes:
    try:
        size = zstandard.frame_content_size(frame)
        if not 0 <= size <= limit:
            raise ProtocolError(f"a zstd frame of stated size {size} is outside 0 to {limit} bytes.")
        payload = coder.decompress(frame, max_output_size=limit, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ProtocolError(f"not a zstd frame: {error}.") from None
    if len(payload) != size:
        raise ProtocolError("a zstd frame does not hold what it states.")
    return payload


def _dictionary_of(frame: bytes) -> int:
    try:
        return int(zstandard.get_frame_parameters(frame).dict_id)
    except zstandard.ZstdError as error:
        raise ProtocolError(f"not a zstd frame: {error}.") from None


def _longest(kind: Kind) -> int:
    return CHUNK_BYTES if kind in CASES else LARGEST_MESSAGE_BYTES
