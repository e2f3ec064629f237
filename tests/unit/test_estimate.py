"""The link's estimate: a smoothed round trip, and the rate the link has lately shown."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.link.estimate import RATE_WINDOW_S, LinkEstimate
from shared.link.retention import Waiting
from shared.link.session import Session
from shared.wire.messages import Kind


def test_nothing_is_known_before_the_first_sample() -> None:
    estimate = LinkEstimate()
    assert (estimate.rate_bytes_per_s, estimate.round_trip_s) == (0.0, 0.0)


def test_the_round_trip_is_smoothed_and_a_slow_sample_does_not_lower_the_rate_at_once() -> None:
    estimate = LinkEstimate()
    estimate.add(100_000, 0.1, 0.1)
    estimate.add(30_000, 0.9, 1.0, round_trip_s=0.9)
    assert estimate.round_trip_s == pytest.approx(0.2)
    assert estimate.rate_bytes_per_s == pytest.approx(1e6)
    estimate.add(30_000, 0.1, 0.2 + RATE_WINDOW_S)
    assert estimate.rate_bytes_per_s == pytest.approx(3e5), "the fast sample is out of the window"


@given(st.lists(st.tuples(st.integers(1, 10**7), st.floats(0, 100), st.floats(0, 30)), min_size=1, max_size=60))
def test_the_rate_is_the_highest_of_the_window(samples: list[tuple[int, float, float]]) -> None:
    estimate, now, seen = LinkEstimate(), 0.0, []
    for size, elapsed, later in samples:
        now += later
        estimate.add(size, elapsed, now)
        seen.append((now, size / max(elapsed, 1e-4)))
        assert estimate.rate_bytes_per_s == max(rate for at, rate in seen if now - at <= RATE_WINDOW_S)
        assert 0 <= estimate.round_trip_s <= 100


@pytest.mark.parametrize("rate", [125_000.0, 1_250_000.0, 12_500_000.0])
def test_a_busy_link_is_measured_within_a_tenth(rate: float) -> None:
    """A pipe of that rate and 20 ms, 64 cases of 30 KB in flight: what the session measures is what the pipe carries."""
    session = Session(random=random.Random(1).random)
    session.credit(10**9)
    for number in range(400):
        session.add(Waiting(sequence=number, size=30_000, is_audit=False, value=0.0))
    free_at, arrivals, now, counter = 0.0, [], 0.0, 0
    while now < 400 * 30_000 / rate:
        while free_at - now < 0.05 and (send := session.next(now, counter=counter)) is not None:
            counter += 1
            free_at = max(free_at, now) + (16_384 if send.kind is Kind.CASE else 300) / rate
            if send.kind is Kind.CASE and send.index + 1 == send.count:
                arrivals.append((free_at + 0.02, send.sequence))
        while arrivals and arrivals[0][0] <= now:
            session.stored([(arrivals[0][1], arrivals[0][1])], now=now)
            arrivals.pop(0)
        now += 0.002
    assert session.estimate.rate_bytes_per_s == pytest.approx(rate * 30_000 / 32_768, rel=0.1)
