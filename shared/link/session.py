"""What a device sends next, and what became of it. Sans-I/O: time comes in as `now`, timers go out as `wake_at`.

A case goes through two small machines, both tables below. Delivery: it waits, its chunks are sent, a receipt stores it; a time-out
or a lost connection makes it wait again. Answer: expected once sent, late after max(1 s, 4 round trips), absent after a minute.

Rules, in order:
1. Priorities: control; telemetry that is overdue, or the epoch's first, which asks for credit; the rest of a case whose chunks
   have begun; audit samples by age; hard cases by value; telemetry. Control and telemetry need no credit, so that a lost credit is
   made good by the next telemetry's.
2. Credit is the envelope counter below which the region takes cases in this epoch; before its first word, 32 cases.
3. At most `WINDOW` cases are sent and unconfirmed. One without a receipt after max(2 s, 4 round trips) waits again, with a full-jitter
   back-off that doubles to 30 s.
4. At a new epoch or a new connection all that is unconfirmed waits again, at once; a new epoch also ends the credit.
5. A receipt counts for this vault, this spool and what has been sent; an answer for this spool and what has been sent.

Example:
    >>> session = Session(random=lambda: 0.5)
    >>> session.add(Waiting(sequence=1, size=100, is_audit=False, value=0.5))
    >>> [session.next(0.0, counter=number).kind.name for number in (0, 1)]
    ['TELEMETRY', 'CASE']
    >>> session.stored([(1, 1)], now=0.1)
    [1]
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum

import msgspec

from shared.link.retention import Waiting
from shared.wire.chunks import CHUNK_BYTES
from shared.wire.messages import Kind

FIRST_ALLOWANCE_CASES = 32
WINDOW = 64
TELEMETRY_EVERY_S = 2.0
TELEMETRY_OVERDUE_S = 10.0
CONTROL_QUEUE = 64
_BACKOFF_S, _LONGEST_BACKOFF_S = 1.0, 30.0
_RECEIPT_TIMEOUT_S, _ANSWER_TIMEOUT_S, _ABSENT_AFTER_S = 2.0, 1.0, 60.0


class Delivery(Enum):
    """Where a case is on its way to the vault."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    STORED = "stored"


class Reply(Enum):
    """What has become of a case's answer."""

    NONE = "none"
    EXPECTED = "expected"
    LATE = "late"
    ANSWERED = "answered"
    ABSENT = "absent"


class Event(Enum):
    """What happens to a case."""

    BEGIN = "begin"
    LAST_CHUNK = "last chunk"
    TIMEOUT = "timeout"
    RESTED = "rested"
    RESET = "reset"
    RECEIPT = "receipt"
    OVERDUE = "overdue"
    GIVEN_UP = "given up"
    ANSWER = "answer"


DELIVERY: dict[tuple[Delivery, Event], Delivery] = {
    (Delivery.WAITING, Event.BEGIN): Delivery.SENDING,
    (Delivery.WAITING, Event.RECEIPT): Delivery.STORED,  # of an earlier sending
    (Delivery.SENDING, Event.LAST_CHUNK): Delivery.SENT,
    (Delivery.SENDING, Event.RECEIPT): Delivery.STORED,  # of an earlier sending
    (Delivery.SENDING, Event.RESET): Delivery.WAITING,
    (Delivery.SENT, Event.TIMEOUT): Delivery.WAITING,
    (Delivery.SENT, Event.RESET): Delivery.WAITING,
    (Delivery.SENT, Event.RECEIPT): Delivery.STORED,
}
REPLY: dict[tuple[Reply, Event], Reply] = {
    (Reply.NONE, Event.LAST_CHUNK): Reply.EXPECTED,
    (Reply.EXPECTED, Event.OVERDUE): Reply.LATE,
    (Reply.EXPECTED, Event.ANSWER): Reply.ANSWERED,
    (Reply.LATE, Event.ANSWER): Reply.ANSWERED,
    (Reply.LATE, Event.GIVEN_UP): Reply.ABSENT,
}


class Send(msgspec.Struct, frozen=True, kw_only=True):
    """What to send now. A case is read from the spool by the driver, a telemetry made by it; a control message is in `payload`."""

    kind: Kind
    sequence: int = 0
    index: int = 0
    count: int = 1
    payload: bytes = b""


class SessionCounts(msgspec.Struct, kw_only=True):
    """What the session has seen since it was made."""

    cases_sent: int = 0
    receipts: int = 0
    answers: int = 0
    answers_late: int = 0
    answers_absent: int = 0
    answers_unknown: int = 0
    timeouts: int = 0
    control_dropped: int = 0


class _Record:
    """One case's place in both machines."""

    __slots__ = ("chunks", "delivery", "failures", "is_ready", "item", "reply", "sendings", "sent_at")

    def __init__(self, item: Waiting) -> None:
        self.item = item
        self.delivery = Delivery.WAITING
        self.reply = Reply.NONE
        self.chunks = -(-item.size // CHUNK_BYTES) or 1
        self.sendings = 0
        self.failures = 0
        self.sent_at = 0.0
        self.is_ready = False

    def apply(self, event: Event) -> bool:
        """Move along both tables; False when neither has such a transition."""
        delivery, reply = DELIVERY.get((self.delivery, event)), REPLY.get((self.reply, event))
        self.delivery, self.reply = delivery or self.delivery, reply or self.reply
        return bool(delivery or reply)

    @property
    def was_sent(self) -> bool:
        """Whether all its chunks have been sent at least once."""
        return self.reply is not Reply.NONE

    @property
    def is_done(self) -> bool:
        """Whether nothing more can come."""
        return self.delivery is Delivery.STORED and self.reply in {Reply.ANSWERED, Reply.ABSENT}


class Session:
    """The cases of one spool on their way to one region.

    Args:
        random: returns a number from 0 to 1, for jitter.
    """

    def __init__(self, *, random: Callable[[], float]) -> None:
        self._random = random
        self._records: dict[int, _Record] = {}
        self._ready: list[tuple[int, float, int]] = []
        self._timers: list[tuple[float, int, int, int, Event]] = []
        self._timers_set = 0
        self._control: deque[bytes] = deque()
        self._sending: tuple[int, int] | None = None
        self._in_flight = 0
        self._credit: int | None = None
        self._begun = 0
        self._telemetry_at: float | None = None
        self.round_trip_s = 0.0
        self.counts = SessionCounts()

    def add(self, item: Waiting) -> None:
        """Take a case that the spool holds."""
        if item.sequence not in self._records:
            record = self._records[item.sequence] = _Record(item)
            self._make_ready(record)

    def forget(self, sequences: Iterable[int]) -> None:
        """Drop cases that have left the spool without a receipt."""
        for sequence in sequences:
            record = self._records.pop(sequence, None)
            if record is not None:
                self._leave_flight(record)

    def control(self, payload: bytes) -> None:
        """Queue an update report, first in, first out; when too many wait, the oldest goes."""
        self._control.append(payload)
        if len(self._control) > CONTROL_QUEUE:
            self._control.popleft()
            self.counts.control_dropped += 1

    def begin_epoch(self) -> None:
        """Start over under new keys: no credit yet, all that is unconfirmed waits again, telemetry is due."""
        self._credit = None
        self._begun = 0
        self._telemetry_at = None
        self.reset()

    def reset(self) -> None:
        """Let all that is unconfirmed wait again, without back-off: the connection was lost, or the region forgot."""
        for record in self._records.values():
            self._leave_flight(record)
            record.apply(Event.RESET)
            self._make_ready(record)

    def credit(self, limit: int) -> None:
        """Take the region's word on how far cases may go; it is never lowered within an epoch."""
        self._credit = max(limit, self._credit or 0)

    def next(self, now: float, *, counter: int) -> Send | None:
        """Decide what to send next; what is returned counts as sent.

        Args:
            now: monotonic seconds.
            counter: the envelope counter it would be sealed with.

        Returns:
            What to send, or None when there is nothing to send now.
        """
        self.tick(now)
        if self._control:
            return Send(kind=Kind.UPDATE_REPORT, payload=self._control.popleft())
        if self._telemetry_is_due(now, TELEMETRY_OVERDUE_S):
            return self._telemetry(now)
        chunk = self._next_chunk(now, counter)
        if chunk is None and self._telemetry_is_due(now, TELEMETRY_EVERY_S):
            return self._telemetry(now)
        return chunk

    def stored(self, ranges: Iterable[tuple[int, int]], *, now: float) -> list[int]:
        """Take a receipt's ranges (inclusive).

        Returns:
            The sequences that have been sent and are stored now: the spool may delete exactly these.
        """
        stored = []
        for first, last in ranges:
            for sequence in self._within(first, last):
                record = self._records[sequence]
                if record.was_sent and record.delivery is not Delivery.STORED:
                    self._store(record, now)
                    stored.append(sequence)
        self.counts.receipts += len(stored)
        return stored

    def answered(self, sequence: int) -> bool:
        """Take an answer; False when none is expected (any more) for this case."""
        record = self._records.get(sequence)
        if record is None or not record.apply(Event.ANSWER):
            self.counts.answers_unknown += 1
            return False
        self.counts.answers += 1
        self._drop_if_done(record)
        return True

    def tick(self, now: float) -> None:
        """Let the timers that have run out take effect."""
        while self._timers and self._timers[0][0] <= now:
            _, _, sending, sequence, event = heapq.heappop(self._timers)
            record = self._records.get(sequence)
            if record is not None:
                self._expire(record, event, sending, now)

    def wake_at(self, now: float) -> float:
        """Return when to call `next` again at the latest, in monotonic seconds."""
        telemetry = now if self._telemetry_at is None else self._telemetry_at + TELEMETRY_EVERY_S
        return min(telemetry, self._timers[0][0]) if self._timers else telemetry

    @property
    def in_flight(self) -> int:
        """Cases sent, wholly or in part, without a receipt."""
        return self._in_flight

    def _next_chunk(self, now: float, counter: int) -> Send | None:
        if self._credit is not None and counter >= self._credit:
            return None
        if self._sending is None:
            record = self._begin()
            if record is None:
                return None
            self._sending = (record.item.sequence, 0)
        sequence, index = self._sending
        record = self._records[sequence]
        self._sending = (sequence, index + 1)
        if index + 1 == record.chunks:
            self._sending = None
            self._finish(record, now)
        return Send(kind=Kind.CASE, sequence=sequence, index=index, count=record.chunks)

    def _begin(self) -> _Record | None:
        if self._in_flight >= WINDOW or (self._credit is None and self._begun >= FIRST_ALLOWANCE_CASES):
            return None
        while self._ready:
            record = self._records.get(heapq.heappop(self._ready)[2])
            if record is not None:
                record.is_ready = False
                if record.apply(Event.BEGIN):
                    self._in_flight += 1
                    self._begun += 1
                    record.sendings += 1
                    return record
        return None

    def _finish(self, record: _Record, now: float) -> None:
        if not record.was_sent:
            self.counts.cases_sent += 1
            due = now + max(_ANSWER_TIMEOUT_S, 4 * self.round_trip_s)
            self._set_timer(due, record, Event.OVERDUE)
            self._set_timer(due + _ABSENT_AFTER_S, record, Event.GIVEN_UP)
        record.apply(Event.LAST_CHUNK)
        record.sent_at = now
        self._set_timer(now + max(_RECEIPT_TIMEOUT_S, 4 * self.round_trip_s), record, Event.TIMEOUT)

    def _store(self, record: _Record, now: float) -> None:
        if record.sendings == 1:  # a case sent twice says nothing of the round trip (Karn)
            sample = now - record.sent_at
            self.round_trip_s = sample if self.round_trip_s == 0.0 else 0.875 * self.round_trip_s + 0.125 * sample
        self._leave_flight(record)
        record.apply(Event.RECEIPT)
        self._drop_if_done(record)

    def _expire(self, record: _Record, event: Event, sending: int, now: float) -> None:
        if event is Event.RESTED:
            self._make_ready(record)
        elif event is Event.TIMEOUT:
            if record.delivery is Delivery.SENT and record.sendings == sending:
                self._time_out(record, now)
        elif record.apply(event):
            self.counts.answers_late += event is Event.OVERDUE
            self.counts.answers_absent += event is Event.GIVEN_UP
            self._drop_if_done(record)

    def _time_out(self, record: _Record, now: float) -> None:
        self._leave_flight(record)
        record.apply(Event.TIMEOUT)
        self.counts.timeouts += 1
        longest = min(_LONGEST_BACKOFF_S, _BACKOFF_S * 2.0**record.failures)
        record.failures = min(record.failures + 1, 10)
        self._set_timer(now + self._random() * longest, record, Event.RESTED)

    def _make_ready(self, record: _Record) -> None:
        if record.delivery is Delivery.WAITING and not record.is_ready:
            record.is_ready = True
            item = record.item
            heapq.heappush(self._ready, (0, 0.0, item.sequence) if item.is_audit else (1, -item.value, item.sequence))

    def _leave_flight(self, record: _Record) -> None:
        if record.delivery in {Delivery.SENDING, Delivery.SENT}:
            self._in_flight -= 1
            if self._sending is not None and self._sending[0] == record.item.sequence:
                self._sending = None

    def _drop_if_done(self, record: _Record) -> None:
        if record.is_done:
            del self._records[record.item.sequence]

    def _set_timer(self, at: float, record: _Record, event: Event) -> None:
        self._timers_set += 1  # breaks ties, since events have no order
        heapq.heappush(self._timers, (at, self._timers_set, record.sendings, record.item.sequence, event))

    def _within(self, first: int, last: int) -> list[int]:
        """Known sequences in a range; the region may name a range of any length."""
        if last - first < len(self._records):
            return [sequence for sequence in range(first, last + 1) if sequence in self._records]
        return [sequence for sequence in self._records if first <= sequence <= last]

    def _telemetry_is_due(self, now: float, after_s: float) -> bool:
        return self._telemetry_at is None or now - self._telemetry_at >= after_s

    def _telemetry(self, now: float) -> Send:
        self._telemetry_at = now
        return Send(kind=Kind.TELEMETRY)
