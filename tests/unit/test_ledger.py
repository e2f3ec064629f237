"""The demo's arithmetic on small, hand-made event files."""

import json

import pytest

from provisioning.testbed import ledger


def line(**fields: object) -> bytes:
    base = {"stream": "a", "sequence": 0, "time": 1.0, "state": "final", "index": 0, "source": "edge", "action": "keep"}
    return json.dumps({**base, **fields}).encode() + b"\n"


def deferred(sequence: int, edge: int, answer: int, source: str = "region", latency_ms: float = 20.0) -> bytes:
    first = line(sequence=sequence, state="provisional", index=edge, action="defer")
    return first + line(sequence=sequence, index=answer, source=source, action="defer", latency_ms=latency_ms)


def test_a_torn_last_line_is_left_out() -> None:
    assert len(ledger.parse_events(line() + b'{"stream": "a", "sequ')) == 1


def test_system_takes_the_regions_answer_and_edge_only_the_first() -> None:
    frames = ledger.join(ledger.parse_events(line(sequence=0, index=1) + deferred(1, edge=0, answer=2)))
    result = ledger.accuracies(frames, truth={"a": [1, 2]}, expert={"a": [1, 2]})
    assert (result.edge_only, result.system, result.expert) == (0.5, 1.0, 1.0)


def test_truth_wraps_around_with_a_looping_source() -> None:
    frames = ledger.join(ledger.parse_events(line(sequence=5, index=7)))
    assert ledger.accuracies(frames, truth={"a": [0, 0, 7]}, expert={"a": [0, 0, 0]}).edge_only == 1.0


def test_frames_without_a_final_event_or_outside_the_window_do_not_count() -> None:
    data = line(sequence=0, state="provisional", action="defer") + line(sequence=1, time=5.0) + line(sequence=2, time=1.5)
    assert set(ledger.within(ledger.join(ledger.parse_events(data)), 1.0, 5.0)) == {("a", 2)}


def test_shares_keep_audit_apart() -> None:
    data = line(sequence=0) + line(sequence=1, action="audit") + deferred(2, 0, 1) + deferred(3, 0, 0, source="expired")
    result = ledger.shares(ledger.join(ledger.parse_events(data)))
    assert (result.deferred, result.audited, result.answered) == (0.5, 0.25, 0.25)


@pytest.mark.parametrize(("extra", "expected"), [(0, 0.0), (7, 7.0)])
def test_drops_in_a_swap_are_counted_beyond_the_usual_rate(extra: int, expected: float) -> None:
    samples = [ledger.RateSample(at=t, frames=10 * t, dropped=t + (extra if t >= 20 else 0)) for t in range(40)]
    assert ledger.drops_beyond_steady_rate(samples, 20.0, window_s=2.0) == pytest.approx(expected)
