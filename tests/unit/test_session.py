"""The session: what is sent next, and that nothing is lost whatever the link does. Time is a number here."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.link.casestates import ANSWERS, DELIVERY, REPLY, Answers, Delivery, Event, Reply
from shared.link.outbound import Send
from shared.link.retention import Waiting
from shared.link.session import FIRST_ALLOWANCE_CASES, WINDOW, Session
from shared.wire.chunks import CHUNK_BYTES
from shared.wire.messages import Kind
from tests.examples import examples


def case(sequence: int, *, size: int = 100, audit: bool = False, value: float = 0.0) -> Waiting:
    return Waiting(sequence=sequence, size=size, is_audit=audit, value=value)


def session_with(*cases: Waiting) -> Session:
    session = Session(random=lambda: 0.5)
    for item in cases:
        session.add(item)
    assert session.next(0.0, counter=0) == Send(kind=Kind.TELEMETRY)
    return session


def drain(session: Session, now: float = 0.0, counter: int = 1) -> list[Send]:
    sent = []
    while (send := session.next(now, counter=counter + len(sent))) is not None:
        sent.append(send)
    return sent


def cases_of(sent: list[Send]) -> list[int]:
    return [send.sequence for send in sent if send.kind is Kind.CASE]


def test_audit_goes_before_hard_cases_and_these_by_value() -> None:
    session = session_with(case(1, value=0.1), case(2, value=0.9), case(3, audit=True), case(4, value=0.5), case(5, audit=True))
    assert cases_of(drain(session)) == [3, 5, 2, 4, 1]


def test_control_overtakes_between_two_chunks_of_a_case() -> None:
    session = session_with(case(1, size=3 * CHUNK_BYTES))
    first = session.next(0.0, counter=1)
    session.control(b"report")
    kinds = [session.next(0.0, counter=2 + number) for number in range(3)]
    assert (first.index, first.count) == (0, 3)
    assert [(send.kind, send.index) for send in kinds] == [(Kind.UPDATE_REPORT, 0), (Kind.CASE, 1), (Kind.CASE, 2)]


def test_only_a_case_of_one_chunk_goes_between_the_chunks_of_a_less_valuable_one() -> None:
    session = session_with(case(1, size=3 * CHUNK_BYTES, value=0.5))
    session.next(0.0, counter=1)
    session.add(case(2, value=0.4))
    session.add(case(3, size=2 * CHUNK_BYTES, value=0.9))
    assert session.next(0.0, counter=2) == Send(kind=Kind.CASE, sequence=1, index=1, count=3), "a case of many chunks waits its turn"
    assert session.next(0.0, counter=3) == Send(kind=Kind.CASE, sequence=1, index=2, count=3)
    assert [(send.sequence, send.index) for send in drain(session, counter=4)] == [(3, 0), (3, 1), (2, 0)]
    session = session_with(case(1, size=3 * CHUNK_BYTES, value=0.5))
    session.next(0.0, counter=1)
    session.add(case(2, value=0.9))
    session.add(case(3, audit=True))
    assert [(send.sequence, send.index) for send in drain(session, counter=2)] == [(3, 0), (2, 0), (1, 1), (1, 2)]


def test_small_cases_that_may_not_begin_leave_the_large_one_going() -> None:
    session = session_with(*(case(number) for number in range(FIRST_ALLOWANCE_CASES - 1)), case(99, size=3 * CHUNK_BYTES))
    drained = drain(session, counter=1)
    assert len(drained) == FIRST_ALLOWANCE_CASES - 1 + 3
    session = session_with(*(case(number, value=0.9) for number in range(FIRST_ALLOWANCE_CASES - 1)), case(99, size=3 * CHUNK_BYTES))
    for counter in range(FIRST_ALLOWANCE_CASES):
        session.next(0.0, counter=counter)
    session.add(case(100, audit=True))
    assert [(send.sequence, send.index) for send in drain(session, counter=40)] == [(99, 1), (99, 2)], "32 have begun, no credit yet"


def test_before_the_first_credit_32_cases_go_and_telemetry_still_goes() -> None:
    session = session_with(*(case(number) for number in range(100)))
    assert len(drain(session)) == FIRST_ALLOWANCE_CASES
    assert session.next(2.0, counter=40) == Send(kind=Kind.TELEMETRY)
    session.credit(50)
    assert len(drain(session, now=0.0, counter=41)) == 9, "counters 41 to 49"
    assert session.next(4.1, counter=50) == Send(kind=Kind.TELEMETRY), "a lost credit recovers through telemetry"


def test_credit_is_never_lowered_within_an_epoch() -> None:
    session = session_with(*(case(number) for number in range(10)))
    session.credit(6)
    session.credit(2)
    assert len(drain(session)) == 5


def test_only_a_window_of_cases_is_unconfirmed() -> None:
    session = session_with(*(case(number) for number in range(200)))
    session.credit(10_000)
    assert len(drain(session)) == WINDOW == session.in_flight
    assert session.stored([(0, 9)], now=0.1) == list(range(10))
    assert len(drain(session, now=0.1)) == 10


def test_a_receipt_names_only_what_was_wholly_sent() -> None:
    session = session_with(case(1), case(2, size=2 * CHUNK_BYTES), case(3))
    session.credit(3)
    assert [(send.sequence, send.index) for send in drain(session)] == [(1, 0), (2, 0)]
    assert session.stored([(0, 2**63)], now=0.1) == [1], "2 is sent in part, 3 not at all"
    assert session.stored([(0, 2**63)], now=0.1) == []
    assert session.stored([(5, 2)], now=0.1) == []


def test_without_a_receipt_a_case_is_sent_again_after_time_out_and_back_off() -> None:
    session = session_with(case(1))
    assert cases_of(drain(session)) == [1]
    assert cases_of(drain(session, now=1.9)) == []
    assert cases_of(drain(session, now=2.1)) == [], "it rests for half of a second now"
    assert cases_of(drain(session, now=2.7)) == [1]
    assert cases_of(drain(session, now=4.8)) == []
    assert cases_of(drain(session, now=5.7)) == [], "the back-off has doubled"
    assert cases_of(drain(session, now=5.9)) == [1]
    assert session.counts.timeouts == 2
    assert session.counts.cases_sent == 1
    assert session.stored([(1, 1)], now=6.0) == [1]


def test_a_late_receipt_of_an_earlier_sending_counts() -> None:
    session = session_with(case(1))
    drain(session)
    session.tick(2.5)
    assert session.stored([(1, 1)], now=2.6) == [1]
    assert cases_of(drain(session, now=10.0)) == []
    assert session.round_trip_s == pytest.approx(2.6), "it was sent once, so the time is known"


def test_a_case_sent_twice_says_nothing_of_the_round_trip() -> None:
    session = session_with(case(1))
    drain(session)
    drain(session, now=3.0)
    drain(session, now=3.5)
    session.stored([(1, 1)], now=3.6)
    assert session.round_trip_s == 0.0


def test_a_new_connection_and_a_new_epoch_send_again_at_once() -> None:
    session = session_with(case(1), case(2, size=3 * CHUNK_BYTES))
    session.credit(3)
    drain(session)
    session.reset()
    assert session.in_flight == 0
    session.credit(100)
    assert [(send.sequence, send.index) for send in drain(session)] == [(1, 0), (2, 0), (2, 1), (2, 2)]
    session.begin_epoch()
    assert session.next(0.1, counter=0) == Send(kind=Kind.TELEMETRY)
    assert cases_of(drain(session, now=0.1)) == [1, 2, 2, 2]


def test_a_case_that_rests_is_sent_at_once_on_a_new_connection() -> None:
    session = session_with(case(1))
    drain(session)
    session.tick(2.0)
    session.reset()
    assert cases_of(drain(session, now=2.0)) == [1]
    assert cases_of(drain(session, now=3.0)) == [], "and not twice"


def test_an_evicted_case_is_forgotten_also_in_the_middle() -> None:
    session = session_with(case(1, size=3 * CHUNK_BYTES), case(2))
    session.next(0.0, counter=1)
    session.forget([1])
    assert cases_of(drain(session)) == [2]
    assert session.in_flight == 1
    assert not session.answered(1)


def test_answers_are_expected_late_absent_and_counted_once() -> None:
    session = session_with(*(case(number) for number in range(4)))
    drain(session)
    session.stored([(0, 3)], now=0.1)
    assert session.answered(0)
    assert not session.answered(0), "once"
    session.tick(1.5)
    assert session.answered(1), "late, but an answer"
    assert (session.counts.answers_late, session.counts.answers) == (3, 2)
    session.tick(100.0)
    assert session.counts.answers_absent == 2
    assert not session.answered(2)
    assert not session._records, "what is over is not kept"


def test_an_answer_before_the_receipt_leaves_the_case_to_its_receipt() -> None:
    session = session_with(case(1))
    drain(session)
    assert session.answered(1)
    assert session.stored([(1, 1)], now=0.2) == [1]


def test_an_answer_for_a_case_that_was_not_sent_is_not_believed() -> None:
    session = session_with(case(1))
    session.credit(0)
    assert not session.answered(1)
    assert not session.answered(77)
    assert session.counts.answers_unknown == 2


def test_overdue_telemetry_overtakes_an_endless_stream_of_cases() -> None:
    session = session_with(*(case(number) for number in range(50)))
    session.credit(10_000)
    kinds = [session.next(number * 1.0, counter=number + 1).kind for number in range(25)]
    assert kinds.count(Kind.TELEMETRY) == 2


def test_wake_at_is_the_earliest_timer() -> None:
    session = session_with(case(1))
    drain(session, now=0.5)
    assert session.wake_at(0.5) == pytest.approx(1.5), "when the answer is late"
    session.tick(1.6)
    assert session.wake_at(1.6) == pytest.approx(2.0), "when telemetry is due"


def test_every_state_of_both_tables_can_be_reached_and_left() -> None:
    assert set(DELIVERY.values()) == set(Delivery)
    assert {before for before, _ in DELIVERY} == set(Delivery) - {Delivery.STORED}
    assert set(REPLY.values()) | {Reply.NONE} == set(Reply)
    assert set(ANSWERS.values()) == {before for before, _ in ANSWERS} == set(Answers)
    assert {event for _, event in [*DELIVERY, *REPLY, *ANSWERS]} == set(Event) - {Event.RESTED}


def test_what_nobody_wants_any_more_is_not_sent_and_counted() -> None:
    session = session_with()
    session.control(b"old", until=2.0)
    session.control(b"new", until=9.0)
    assert [send.payload for send in drain(session, now=2.1, counter=2) if send.kind is Kind.UPDATE_REPORT] == [b"new"]
    assert session.counts.control_expired == 1


def test_only_what_the_region_cannot_have_is_let_go_of() -> None:
    session = session_with(case(1), case(2, size=3 * CHUNK_BYTES), case(3))
    session.add(case(4), was_exposed=True)
    session.add(case(5), kind=Kind.HELD_CASE)
    session.credit(4)
    assert [(send.sequence, send.index) for send in drain(session)] == [(1, 0), (2, 0), (2, 1)]
    assert {(item.sequence, kind) for item, kind in session.release()} == {(2, Kind.CASE), (3, Kind.CASE), (5, Kind.HELD_CASE)}
    assert sorted(session.exposed()) == [1, 4]
    assert session.in_flight == 1, "2 was on its way and is not any more"
    session.credit(100)
    session.reset()
    assert sorted(cases_of(drain(session, counter=5))) == [1, 4], "its own are sent again to where they belong"
    session.stored([(1, 9)], now=0.1)
    assert session.exposed() == []


def test_the_links_answers_are_expected_late_absent_and_expected_again() -> None:
    session = session_with(case(1), case(2))
    drain(session)
    states = [session.answers_state]
    for now in (1.1, 61.5):
        session.tick(now)
        states.append(session.answers_state)
    session.add(case(3))
    drain(session, now=62.0)
    assert session.answered(3)
    assert [*states, session.answers_state] == [Answers.EXPECTED, Answers.LATE, Answers.ABSENT, Answers.EXPECTED]


@settings(max_examples=examples(60), deadline=None)
@given(seed=st.integers(0, 2**32), loss=st.floats(0.0, 0.6), count=st.integers(1, 60))
def test_whatever_is_lost_on_the_way_every_case_is_stored_and_nothing_else_is_removed(seed: int, loss: float, count: int) -> None:
    """A lossy link, a region that forgets, a clock by hand: removed = stored = all, each deleted once."""
    dice = random.Random(seed)
    session = Session(random=dice.random)
    sizes = {number: dice.choice([10, 20_000, 70_000]) for number in range(count)}
    for number, size in sizes.items():
        session.add(case(number, size=size, audit=dice.random() < 0.2, value=dice.random()))
    stored: set[int] = set()
    removed: list[int] = []
    chunks: dict[int, set[int]] = {}
    now, counter = 0.0, 0
    while len(removed) < count:
        assert now < 3600.0, "it does not come to an end"
        action = dice.random()
        if action < 0.01:
            session.begin_epoch()
            counter, chunks = 0, {}
        elif action < 0.03:
            session.reset()
        receipts: list[tuple[int, int]] = []
        while (send := session.next(now, counter=counter)) is not None:
            counter += 1
            if dice.random() < loss:
                continue
            if send.kind is Kind.CASE:
                chunks.setdefault(send.sequence, set()).add(send.index)
                if len(chunks[send.sequence]) == send.count:
                    stored.add(send.sequence)
                    receipts.append((send.sequence, send.sequence))
            elif dice.random() >= loss:
                session.credit(counter + 40)
        gone = session.stored([found for found in receipts if dice.random() >= loss], now=now + 0.02)
        assert set(gone) <= stored
        removed += gone
        now = max(now + 0.05, min(session.wake_at(now), now + 1.0))
    assert sorted(removed) == list(range(count))
    assert session.in_flight == 0
