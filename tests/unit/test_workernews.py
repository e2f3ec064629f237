"""What worker processes and the daemon say to each other: cut anywhere it is read whole, and rubbish is refused; counts are differences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from region.batcher import Job, Priority
from region.figures import Figures
from region.fleet import Fleet
from region.newsdesk import NewsDesk
from region.shards import Order
from region.workernews import LARGEST_BYTES, MOST_JOBS, Done, Hello, News, Reader, Told, encode, note, told
from shared.errors import ProtocolError
from shared.wire.messages import UpdateReport

from .region_parts import a_case

FROM_WORKER = Hello | Done | News


def a_job(number: int) -> Job:
    return Job(
        id=number, device="edge-1.region-1", spool=b"s" * 16, sequence=number, case=a_case(number), priority=Priority.AUDIT, received_at=1.5
    )  # fmt: skip


def some_news() -> News:
    figures = Figures()
    desk = NewsDesk(figures)
    figures.messages += 3
    figures.drop("replay")
    desk.heard("edge-1.region-1", now=5.0, size=10)
    desk.heard("edge-1.region-1", now=6.0, size=10)
    desk.opened("edge-1.region-1", 2**64 - 1)
    desk.submit([a_job(1), a_job(2)])
    return desk.take(held_bytes=100, is_storing=True)


@given(st.integers(1, 400))
def test_words_are_read_however_they_are_cut(step: int) -> None:
    news = some_news()
    data = b"".join(encode(word) for word in (Hello(name="intake-1"), news, Done(number=7)))
    reader = Reader(FROM_WORKER)
    words = [word for start in range(0, len(data), step) for word in reader.feed(data[start : start + step])]
    assert words == [Hello(name="intake-1"), news, Done(number=7)]
    assert news.jobs[0].deadline == float("inf")


@given(st.binary(min_size=4, max_size=300))
def test_rubbish_is_refused_or_waited_for(data: bytes) -> None:
    reader = Reader(FROM_WORKER)
    try:
        reader.feed(data)
    except ProtocolError:
        return


def test_a_length_that_cannot_be_is_refused_before_anything_is_kept() -> None:
    with pytest.raises(ProtocolError, match="too long"):
        Reader(Told).feed((LARGEST_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(ProtocolError, match="damaged"):
        Reader(Told).feed(encode(Hello(name="x")))


def test_an_order_travels() -> None:
    order = Order(member="intake-1", number=3, shards=frozenset({5, 1}))
    assert Reader(Told).feed(encode(told(order))) == [Told(number=3, shards=(1, 5))]


def test_news_are_differences_and_are_added_up() -> None:
    figures, desk_figures, fleet = Figures(), Figures(), Fleet()
    desk = NewsDesk(desk_figures)
    for held in (100, 250):
        desk_figures.messages += 2
        desk_figures.drop("shard")
        desk.heard("edge-1.region-1", now=9.0, size=7)
        desk.report("edge-1.region-1", UpdateReport(model="student", release=1, from_release=0, state="committed", reason="", at=1.0))
        news = desk.take(held_bytes=held, is_storing=True)
        note(news, figures, fleet)
    assert (news.stored_bytes, figures.messages, dict(figures.dropped)) == (150, 4, {"shard": 2})
    found = fleet.summary(now=9.0)["edge-1.region-1"]
    assert (found["bytes_received"], found["committed"]) == (14, [1])
    empty = desk.take(held_bytes=250, is_storing=False)
    assert (empty.counted, empty.dropped, empty.heard, empty.stored_bytes, empty.is_storing) == ({}, {}, {}, 0, False)


def test_more_jobs_than_one_word_bears_are_left_to_the_vault() -> None:
    desk = NewsDesk(Figures())
    job = a_job(1)
    for _ in range(3):
        desk.submit([job] * (MOST_JOBS // 2))
    assert len(desk.take(held_bytes=0, is_storing=True).jobs) == MOST_JOBS
