"""What a device sends next, and what became of it. Sans-I/O: time comes in as `now`, timers go out as `wake_at`.

A case goes through two small machines (casestates): its delivery, and its answer, which is expected once the case was sent, late after
max(1 s, 4 round trips), absent after a minute. Nobody waits for any of it: late and absent are states.

Rules, in order:
1. Priorities: control; telemetry that is overdue, or the epoch's first, which asks for credit; the rest of a case whose chunks
   have begun, save that a case of a single chunk which would come before it goes in between; audit samples by age; hard cases by
   value; telemetry. Control and telemetry need no credit, so that a lost credit is made good by the next telemetry's.
2. Credit is the envelope counter below which the region takes cases in this epoch; before its first word, 32 cases.
3. At most `WINDOW` cases are sent and unconfirmed. One without a receipt after max(2 s, 4 round trips) waits again, with a full-jitter
   back-off that doubles to 30 s.
4. At a new epoch or a new connection all that is unconfirmed waits again, at once; a new epoch also ends the credit.
5. A receipt counts for this vault, this spool and what has been sent; an answer for this spool and what has been sent.
6. A control message that nobody wants any more after its time is not sent after it, and counted. Cases have no such time: after their
   answer's deadline they still teach, and the spool decides what gives way.
7. A case is exposed once its last chunk has been handed out: this region may have it. `release` lets go only of what is not.

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

from shared.link.casestates import ANSWERS, Answers, Delivery, Event, Record
from shared.link.estimate import LinkEstimate
from shared.link.outbound import Send, SessionCounts
from shared.link.retention import Waiting
from shared.wire.messages import Kind

FIRST_ALLOWANCE_CASES = 32
WINDOW = 64
TELEMETRY_EVERY_S = 2.0
TELEMETRY_OVERDUE_S = 10.0
CONTROL_QUEUE = 64
_BACKOFF_S, _LONGEST_BACKOFF_S = 1.0, 30.0
_RECEIPT_TIMEOUT_S, _ANSWER_TIMEOUT_S, _ABSENT_AFTER_S = 2.0, 1.0, 60.0


class Session:
    """The cases of one spool on their way to one region.

    Args:
        random: returns a number from 0 to 1, for jitter.
    """

    def __init__(self, *, random: Callable[[], float]) -> None:
        self._random = random
        self._records: dict[int, Record] = {}
        self._ready: list[tuple[int, float, int]] = []
        self._timers: list[tuple[float, int, int, int, Event]] = []
        self._timers_set = 0
        self._control: deque[tuple[float, bytes]] = deque()
        self._sending: tuple[int, int] | None = None
        self._in_flight = 0
        self._credit: int | None = None
        self._begun = 0
        self._telemetry_at: float | None = None
        self._confirmed, self._confirmed_at = 0, 0.0
        self.answers_state = Answers.EXPECTED
        self.estimate = LinkEstimate()
        self.counts = SessionCounts()

    def add(self, item: Waiting, *, kind: Kind = Kind.CASE, was_exposed: bool = False) -> None:
        """Take a case that the spool holds.

        Args:
            item: the case.
            kind: `CASE`, or `HELD_CASE` where another region may have it too.
            was_exposed: whether an earlier process may have sent it to this region.
        """
        if item.sequence in self._records:
            return
        record = self._records[item.sequence] = Record(item, kind=kind, was_exposed=was_exposed)
        self._make_ready(record)

    def forget(self, sequences: Iterable[int]) -> None:
        """Drop cases that have left the spool without a receipt."""
        for sequence in sequences:
            record = self._records.pop(sequence, None)
            if record is not None:
                self._leave_flight(record)

    def release(self) -> list[tuple[Waiting, Kind]]:
        """Let go of every case that may be sent to another region: this one cannot have it, or it is without effect anyway."""
        return self._let_go(lambda record: not record.was_exposed or record.kind is Kind.HELD_CASE)

    def surrender(self) -> list[tuple[Waiting, Kind]]:
        """Let go of what this region may have, to be kept elsewhere without effect."""
        return [(item, Kind.HELD_CASE) for item, _ in self._let_go(lambda record: record.was_exposed)]

    def exposed(self) -> list[int]:
        """Return what this region may have and has not confirmed, and no other may have with effect."""
        return [number for number, one in self._records.items() if one.is_open and one.was_exposed and one.kind is Kind.CASE]

    def anybodys(self) -> list[int]:
        """Return what waits to be kept without effect, by this region or another."""
        return [number for number, one in self._records.items() if one.is_open and one.kind is Kind.HELD_CASE]

    def control(self, payload: bytes, *, until: float = float("inf")) -> None:
        """Queue an update report, first in, first out; when too many wait, the oldest goes.

        Args:
            payload: the encoded report.
            until: nobody wants it after that, in monotonic seconds.
        """
        self._control.append((until, payload))
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

    def credit_left(self, counter: int) -> int | None:
        """Return how many envelopes from this counter on may carry cases, None before the region has said."""
        return None if self._credit is None else max(0, self._credit - counter)

    def next(self, now: float, *, counter: int) -> Send | None:
        """Decide what to send next; what is returned counts as sent.

        Args:
            now: monotonic seconds.
            counter: the envelope counter it would be sealed with.

        Returns:
            What to send, or None when there is nothing to send now.
        """
        self.tick(now)
        while self._control:
            until, payload = self._control.popleft()
            if now <= until:
                return Send(kind=Kind.UPDATE_REPORT, payload=payload)
            self.counts.control_expired += 1
        if self._telemetry_is_due(now, TELEMETRY_OVERDUE_S):
            return self._telemetry(now)
        chunk = self._next_chunk(now, counter)
        if chunk is None and self._telemetry_is_due(now, TELEMETRY_EVERY_S):
            return self._telemetry(now)
        return chunk

    def next_small(self, now: float, *, counter: int, room: int) -> Send | None:
        """Decide on one more case for the envelope in hand; what is returned counts as sent.

        Args:
            now: monotonic seconds.
            counter: the envelope's.
            room: bytes of payload it may have.

        Returns:
            The next case in order, or None when something else is next or it is too large.
        """
        if self._control or self._telemetry_is_due(now, TELEMETRY_OVERDUE_S):
            return None
        record = self._first_ready()
        is_fit = record is not None and record.kind is Kind.CASE and record.item.size <= room
        return self._next_chunk(now, counter) if is_fit and (self._sending is None or self._goes_between()) else None

    def stored(self, ranges: Iterable[tuple[int, int]], *, now: float) -> list[int]:
        """Take a receipt's ranges (inclusive).

        Returns:
            The sequences that have been sent and are stored now: the spool may delete exactly these.
        """
        stored: list[Record] = []
        for first, last in ranges:
            for sequence in self._within(first, last):
                record = self._records[sequence]
                if record.was_sent and record.is_open:
                    self._store(record)
                    stored.append(record)
        self._measure(stored, now)
        self.counts.receipts += len(stored)
        return [record.item.sequence for record in stored]

    def answered(self, sequence: int) -> bool:
        """Take an answer; False when none is expected (any more) for this case."""
        record = self._records.get(sequence)
        if record is None or not record.apply(Event.ANSWER):
            self.counts.answers_unknown += 1
            return False
        self.counts.answers += 1
        self._note_answers(Event.ANSWER)
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
    def round_trip_s(self) -> float:
        """The link's smoothed round trip, 0.0 while it is unknown."""
        return self.estimate.round_trip_s

    @property
    def in_flight(self) -> int:
        """Cases sent, wholly or in part, without a receipt."""
        return self._in_flight

    def _let_go(self, may_go: Callable[[Record], bool]) -> list[tuple[Waiting, Kind]]:
        gone = [record for record in self._records.values() if record.is_open and may_go(record)]
        self.forget([record.item.sequence for record in gone])
        return [(record.item, record.kind) for record in gone]

    def _next_chunk(self, now: float, counter: int) -> Send | None:
        if self._credit is not None and counter >= self._credit:
            return None
        if self._sending is None or self._goes_between():
            record = self._begin(now)
            if record is None:
                return None
            if record.chunks == 1:
                self._finish(record, now)
                return Send(kind=record.kind, sequence=record.item.sequence)
            self._sending = (record.item.sequence, 0)
        sequence, index = self._sending
        record = self._records[sequence]
        self._sending = (sequence, index + 1)
        if index + 1 == record.chunks:
            self._sending = None
            self._finish(record, now)
        return Send(kind=record.kind, sequence=sequence, index=index, count=record.chunks)

    def _goes_between(self) -> bool:
        """Whether the next case has a single chunk and would have come before the one whose chunks have begun."""
        first, begun = self._first_ready(), self._sending and self._records[self._sending[0]]
        return bool(first and begun and first.chunks == 1 and first.order < begun.order and self._may_begin)

    @property
    def _may_begin(self) -> bool:
        return self._in_flight < WINDOW and (self._credit is not None or self._begun < FIRST_ALLOWANCE_CASES)

    def _first_ready(self) -> Record | None:
        """Return the case that is next in order; those that have left or no longer wait are forgotten."""
        while self._ready:
            record = self._records.get(self._ready[0][2])
            if record is not None and record.delivery is Delivery.WAITING:
                return record
            heapq.heappop(self._ready)
            if record is not None:
                record.is_ready = False
        return None

    def _begin(self, now: float) -> Record | None:
        record = self._first_ready() if self._may_begin else None
        if record is not None:
            heapq.heappop(self._ready)
            record.is_ready = False
            record.apply(Event.BEGIN)
            record.rated_from = self._confirmed_at if self._in_flight else now
            self._in_flight += 1
            self._begun += 1
            record.sendings += 1
            record.confirmed = self._confirmed
        return record

    def _finish(self, record: Record, now: float) -> None:
        if not record.was_sent:
            self.counts.cases_sent += 1
            due = now + max(_ANSWER_TIMEOUT_S, 4 * self.round_trip_s)
            self._set_timer(due, record, Event.OVERDUE)
            self._set_timer(due + _ABSENT_AFTER_S, record, Event.GIVEN_UP)
        record.apply(Event.LAST_CHUNK)
        record.was_exposed = True
        record.sent_at = now
        self._set_timer(now + max(_RECEIPT_TIMEOUT_S, 4 * self.round_trip_s), record, Event.TIMEOUT)

    def _store(self, record: Record) -> None:
        self._confirmed += record.item.size
        self._leave_flight(record)
        record.apply(Event.RECEIPT)
        self._drop_if_done(record)

    def _measure(self, stored: list[Record], now: float) -> None:
        once = [record for record in stored if record.sendings == 1]  # a case sent twice says nothing of the link (Karn)
        if once:
            latest = max(once, key=lambda record: record.sent_at)
            elapsed = now - latest.rated_from
            self.estimate.add(self._confirmed - latest.confirmed, elapsed, now, round_trip_s=now - latest.sent_at)
        if stored:
            self._confirmed_at = now

    def _expire(self, record: Record, event: Event, sending: int, now: float) -> None:
        if event is Event.RESTED:
            self._make_ready(record)
        elif event is Event.TIMEOUT:
            if record.delivery is Delivery.SENT and record.sendings == sending:
                self._time_out(record, now)
        elif record.apply(event):
            self._note_answers(event)
            self.counts.answers_late += event is Event.OVERDUE
            self.counts.answers_absent += event is Event.GIVEN_UP
            self._drop_if_done(record)

    def _note_answers(self, event: Event) -> None:
        self.answers_state = ANSWERS.get((self.answers_state, event), self.answers_state)

    def _time_out(self, record: Record, now: float) -> None:
        self._leave_flight(record)
        record.apply(Event.TIMEOUT)
        self.counts.timeouts += 1
        longest = min(_LONGEST_BACKOFF_S, _BACKOFF_S * 2.0**record.failures)
        record.failures = min(record.failures + 1, 10)
        self._set_timer(now + self._random() * longest, record, Event.RESTED)

    def _make_ready(self, record: Record) -> None:
        if record.delivery is Delivery.WAITING and not record.is_ready:
            record.is_ready = True
            heapq.heappush(self._ready, record.order)

    def _leave_flight(self, record: Record) -> None:
        if record.delivery in {Delivery.SENDING, Delivery.SENT}:
            self._in_flight -= 1
            if self._sending is not None and self._sending[0] == record.item.sequence:
                self._sending = None

    def _drop_if_done(self, record: Record) -> None:
        if record.is_done:
            del self._records[record.item.sequence]

    def _set_timer(self, at: float, record: Record, event: Event) -> None:
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
