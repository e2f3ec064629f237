"""What the region's daemon and its intake worker processes say to each other over their local socket. Pure.

A frame is a length (4 bytes, big-endian) and a msgpack array. The socket lies in the state folder and only the daemon's user may open it,
so that what comes is ours; the length is bounded all the same.

    worker -> daemon   Hello, then News whenever there is some and at least once a second, and Done after every Order
    daemon -> worker   Order

News holds differences: a worker that dies takes with it at most what it had not said, and what it had counted stays counted.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from region.batcher import Job
from region.figures import Figures
from region.fleet import Fleet
from region.shards import Order
from shared.errors import ProtocolError
from shared.wire.messages import Telemetry, UpdateReport

LARGEST_BYTES = 256 << 20
LENGTH_BYTES = 4
MOST_JOBS = 1024
"""Cases one News hands to the expert; what is more is answered from the vault."""
MOST_REPORTS = 1024
COUNTED = ("messages", "cases_new", "cases_duplicate", "storage_failures", "replies", "replies_unsent", "receipts", "epochs_opened")


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """A worker's first word."""

    name: str


class Done(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """A worker serves what the order of that number says, and nothing else."""

    number: int


class News(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """What happened since the last one.

    `counted` and `dropped` are differences; `heard` is by device the time (Unix seconds) and bytes since; `epochs` were opened;
    `jobs` are new cases for the expert; `stored_bytes` lie in the vault now that did not before.
    """

    counted: dict[str, int]
    dropped: dict[str, int]
    heard: dict[str, tuple[float, int]]
    telemetry: dict[str, Telemetry]
    reports: tuple[tuple[str, UpdateReport], ...]
    epochs: tuple[tuple[str, int], ...]
    jobs: tuple[Job, ...]
    stored_bytes: int
    is_storing: bool


class Told(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """The daemon's word: serve these shards from now on, and nothing else."""

    number: int
    shards: tuple[int, ...]


Word = Hello | Done | News | Told


def told(order: Order) -> Told:
    """Return an order as it travels."""
    return Told(number=order.number, shards=tuple(sorted(order.shards)))


def encode(word: Word) -> bytes:
    """Return a word as a frame."""
    data = msgspec.msgpack.encode(word)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


class Reader:
    """Cuts what comes over the socket into words.

    Args:
        kind: what the other side may say: `Hello | Done | News`, or `Told`.
    """

    def __init__(self, kind: object) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Word]:
        """Take bytes in and return the words that are whole.

        Raises:
            ProtocolError: this is none of our words.
        """
        self._buffer += data
        words: list[Word] = []
        while len(self._buffer) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
            if end > LARGEST_BYTES:
                raise ProtocolError("an intake worker's word is too long.")
            if len(self._buffer) < end:
                break
            try:
                words.append(self._decoder.decode(bytes(self._buffer[LENGTH_BYTES:end])))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ProtocolError(f"an intake worker's word is damaged: {error}.") from None
            del self._buffer[:end]
        return words


class Difference:
    """What a worker has counted since it was last asked.

    Args:
        figures: the worker's own counts.
    """

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._said: Counter[str] = Counter()
        self._said_dropped: Counter[str] = Counter()

    def take(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return counts and drops by reason since the last call."""
        counted = Counter({name: getattr(self._figures, name) for name in COUNTED})
        dropped = Counter(self._figures.dropped)
        fresh = dict(counted - self._said), dict(dropped - self._said_dropped)
        self._said, self._said_dropped = counted, dropped
        return fresh


def note(news: News, figures: Figures, fleet: Fleet) -> None:
    """Add a worker's news to the daemon's own figures and fleet."""
    for name in COUNTED:
        setattr(figures, name, getattr(figures, name) + news.counted.get(name, 0))
    figures.dropped.update(news.dropped)
    for device, (at, size) in news.heard.items():
        fleet.heard(device, now=at, size=size)
    for device, telemetry in news.telemetry.items():
        fleet.telemetry(device, telemetry)
    for device, report in news.reports:
        fleet.report(device, report)
