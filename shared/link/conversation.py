"""A device's whole side of the talk with its region, without I/O: what comes in is taken, what is to go out is handed out sealed.

It joins the handshake (which epoch), the session (what next), the sealer and the downlink. Time, the spool's payloads and the
telemetry are arguments; whoever drives it owns the thread, the clock, the disk and the broker.

Rules, in order:
1. A word counts only when it opens under the current epoch; the handshake hears of it, and if the region took more than one opening to
   hear us, all that was sent before it knew the epoch is sent again.
2. A receipt counts for this vault and this spool, an answer for this spool; anything else is counted as ignored.
3. Nothing goes out before an epoch has been opened; its opening goes first.
4. Small cases that are next anyway share a chunk. Nothing waits for others to come: what is there goes.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from shared.errors import ProtocolError
from shared.link.downlink import Downlink
from shared.link.handshake import Handshake, State
from shared.link.outbound import Send
from shared.link.retention import Waiting
from shared.link.session import Session
from shared.wire import frame
from shared.wire.chunks import split
from shared.wire.compression import Compressor, Decompressor
from shared.wire.envelope import SEALS_PER_EPOCH, Sealer
from shared.wire.messages import CASES, Answer, Command, Credit, Kind, Receipt
from shared.wire.shelf import Shelf

FRAMES_SINCE = 2
"""The schema from which on a region reads frames."""
Read = Callable[[int], "bytes | None"]
"""Returns a case's payload by its sequence, or None when it has left the spool."""


class Outgoing(NamedTuple):
    """What to publish: the topic's kind (open, case or control) and the bytes."""

    kind: str
    data: bytes


class Conversation:
    """One device and its region.

    Args:
        handshake: decides on epochs.
        session: decides what is sent.
        clock: returns monotonic seconds, read around each compression.
        shelf: the dictionaries the device has.
    """

    def __init__(self, *, handshake: Handshake, session: Session, clock: Callable[[], float] = float, shelf: Shelf | None = None) -> None:
        self._handshake = handshake
        self.session = session
        self._spool_id = b""
        self._sealer: Sealer | None = None
        self._downlink: Downlink | None = None
        self._chunks: tuple[int, list[bytes]] = (0, [])
        self._shelf = shelf or Shelf()
        self._compressor = Compressor(clock=clock, shelf=self._shelf)
        self._decompressor = Decompressor(self._shelf.find)
        self._outbox: deque[Outgoing] = deque()
        self._heard_at: float | None = None
        self.ignored: Counter[str] = Counter()

    def begin(self, waiting: Iterable[Waiting], *, spool_id: bytes, lowest_serial: int) -> None:
        """Take up what the state folder holds."""
        self._spool_id = spool_id
        self._handshake.begin(spool_id=spool_id, lowest_serial=lowest_serial)
        self.offered(waiting, evicted=())

    def offered(self, items: Iterable[Waiting], *, evicted: Iterable[int]) -> None:
        """Take cases that the spool holds now, and let those go that gave way."""
        for item in items:
            self.session.add(item)
        self.session.forget(evicted)

    def reconnected(self) -> None:
        """The connection was lost or made: what is unconfirmed is sent again."""
        self.session.reset()
        self._outbox.clear()
        self._handshake.reconnected()

    def announced(self, data: bytes, *, now: float, wall: float) -> int:
        """Take a key announcement; returns the highest serial believed so far, to be kept.

        Raises:
            TerraceError: it is not believed.
        """
        if self._handshake.announced(data, now=now, wall=wall):
            self._begin_epoch()
        return self._handshake.serial

    def hinted(self, now: float) -> None:
        """Take an unauthenticated hint."""
        self._handshake.hinted(now)

    def heard(self, data: bytes, *, now: float) -> tuple[list[int], Answer | Command | None]:
        """Take a sealed message of the region.

        Returns:
            The sequences that are stored now and may be deleted, and an answer or a command to pass on, if there is one.

        Raises:
            ProtocolError: it is not believed.
        """
        if self._downlink is None:
            raise ProtocolError("no epoch is open yet.")
        word = self._downlink.take(data)
        self._heard_at = now
        if self._handshake.heard() and self._handshake.openings_sent > 1:
            self.session.reset()
        if isinstance(word, Receipt):
            return self._receipt(word, now), None
        if isinstance(word, Credit):
            self.session.credit(word.limit)
        elif isinstance(word, Answer):
            is_ours = word.spool_id == self._spool_id and self.session.answered(word.sequence)
            return [], word if is_ours else None
        return [], word if isinstance(word, Command) else None

    def renew(self, *, now: float, wall: float) -> bool:
        """Begin a new epoch where one is due; returns whether it did."""
        is_spent = self._sealer is not None and self._sealer.counter >= SEALS_PER_EPOCH
        if not self._handshake.renewed(now=now, wall=wall, is_spent=is_spent):
            return False
        self._begin_epoch()
        return True

    def wants_key(self, now: float) -> bool:
        """Whether to fetch the key announcement now."""
        return self._handshake.wants_key(now)

    def next(self, now: float, *, read: Read, telemetry: Callable[[], bytes]) -> Outgoing | None:
        """Hand out the next message, sealed; None when there is nothing to send now.

        Args:
            now: monotonic seconds.
            read: the spool's.
            telemetry: returns the encoded telemetry; called when it is due.
        """
        opening = self._handshake.open_to_send(now)
        if opening is not None:
            return Outgoing("open", opening)
        sealer = self._sealer
        while sealer is not None and not self._outbox and sealer.counter < SEALS_PER_EPOCH:
            send = self.session.next(now, counter=sealer.counter)
            if send is None:
                return None
            if send.kind is Kind.CASE and send.count == 1 and self._handshake.reads >= FRAMES_SINCE:
                self._seal_small(sealer, send, read, now)
            elif send.kind in CASES:
                self._seal_chunk(sealer, send, read)
            else:
                self._seal_whole(sealer, send.kind, telemetry() if send.kind is Kind.TELEMETRY else send.payload)
        return self._outbox.popleft() if self._outbox else None

    @property
    def missing_dictionaries(self) -> tuple[bytes, ...]:
        """Digests of the dictionaries that the region announces and the device does not have."""
        return tuple(digest for digest in self._handshake.dictionaries if self._shelf.named(digest) is None)

    def control(self, payload: bytes, *, until: float = float("inf")) -> None:
        """Queue an encoded update report that nobody wants any more after `until`, in monotonic seconds."""
        self.session.control(payload, until=until)

    def epoch(self, now: float) -> dict[str, object]:
        """Return the key epoch's state in words, its age in seconds, what was sealed in it and which key it is opened to."""
        return {**self._handshake.words(now), "seals": 0 if self._sealer is None else self._sealer.counter}

    def heard_s_ago(self, now: float) -> float | None:
        """Return the seconds since the last word that was believed, None before the first."""
        return None if self._heard_at is None else round(now - self._heard_at, 3)

    @property
    def credit_left(self) -> int | None:
        """How many more envelopes may carry cases in this epoch, None before the region's first word."""
        return None if self._sealer is None else self.session.credit_left(self._sealer.counter)

    def wake_at(self, now: float) -> float | None:
        """Return when something is due by itself, in monotonic seconds; None before the first epoch."""
        return None if self._sealer is None else self.session.wake_at(now)

    @property
    def is_open(self) -> bool:
        """Whether the region has said something authentic under the current epoch, and has not been doubted since."""
        return self._handshake.state is State.OPEN

    @property
    def audit_key(self) -> bytes | None:
        """The key of the audit choice in the current epoch."""
        return None if self._handshake.opening is None else self._handshake.opening.keys.audit

    def _begin_epoch(self) -> None:
        opening = self._handshake.opening
        if opening is not None:
            is_padded = self._handshake.terms.is_padded and self._handshake.reads >= 2
            self._sealer = Sealer(opening.keys, epoch=opening.epoch_id, suite=opening.suite, is_padded=is_padded)
            self._downlink = Downlink(opening, self._decompressor)
            self._outbox.clear()
            self.session.begin_epoch()

    def _receipt(self, receipt: Receipt, now: float) -> list[int]:
        if (receipt.vault_id, receipt.spool_id) != (self._handshake.vault_id, self._spool_id):
            self.ignored["receipt of another vault or spool"] += 1
            return []
        self.session.credit(receipt.credit)
        return self.session.stored(receipt.ranges, now=now)

    def _seal_chunk(self, sealer: Sealer, send: Send, read: Read) -> None:
        if self._chunks[0] != send.sequence or send.index == 0 or send.count == 1:
            payload = read(send.sequence)
            if payload is None:
                self.session.forget([send.sequence])  # evicted meanwhile, or its row is damaged
                return
            if send.count == 1:
                self._seal_single(sealer, send.kind, send.sequence, payload)  # maybe between the chunks of another
                return
            self._chunks = (send.sequence, split(payload))
        part = self._chunks[1][send.index]
        sealed = sealer.seal(send.kind, part, sequence=send.sequence, index=send.index, count=send.count)
        self._outbox.append(Outgoing("case", sealed))

    def _seal_single(self, sealer: Sealer, kind: Kind, sequence: int, payload: bytes) -> None:
        codec, coded = self._compressed(kind, payload)
        self._outbox.append(Outgoing("case", sealer.seal(kind, coded, sequence=sequence, codec=codec)))

    def _seal_small(self, sealer: Sealer, first: Send, read: Read, now: float) -> None:
        """Seal a case, and with it the next ones for as long as they are small and there is room in the same chunk."""
        parts: list[frame.Part] = []
        room, send = frame.FRAME_BYTES, first
        while True:
            payload = read(send.sequence)
            if payload is None:
                self.session.forget([send.sequence])
            else:
                parts.append(frame.Part(kind=Kind.CASE, sequence=send.sequence, payload=payload))
                room -= frame.PART_BYTES + len(payload)
            if len(parts) == frame.MOST_PARTS:
                break
            following = self.session.next_small(now, counter=sealer.counter, room=room - frame.PART_BYTES)
            if following is None:
                break
            send = following
        if len(parts) == 1:
            self._seal_single(sealer, Kind.CASE, parts[0].sequence, parts[0].payload)
        elif parts:
            codec, body = self._compressed(Kind.FRAME, frame.pack(parts))
            self._outbox.append(Outgoing("case", sealer.seal(Kind.FRAME, body, codec=codec)))

    def _seal_whole(self, sealer: Sealer, kind: Kind, payload: bytes) -> None:
        codec, coded = self._compressed(kind, payload)
        parts = split(coded)
        for index, part in enumerate(parts):
            self._outbox.append(Outgoing("control", sealer.seal(kind, part, index=index, count=len(parts), codec=codec)))

    def _compressed(self, kind: Kind, payload: bytes) -> tuple[int, bytes]:
        rate, reads = self.session.estimate.rate_bytes_per_s, self._handshake.dictionaries
        return self._compressor.compress(kind, payload, rate_bytes_per_s=rate, reads=reads)
