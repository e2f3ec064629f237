"""The audit draw comes first, then the score; every decision says why."""

import math

from hypothesis import given
from hypothesis import strategies as st

from shared.deferral import policy
from shared.deferral.audit import is_audit
from shared.deferral.policy import Action, Policy

KEY = bytes(range(32))


@given(st.binary(min_size=32, max_size=32), st.text(max_size=20), st.integers(0, 2**40), st.floats(0, 1), st.floats(0, 1))
def test_the_draw_is_a_function_and_grows_with_the_share(key: bytes, stream: str, frame: int, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert is_audit(key, stream, frame, low) == is_audit(key, stream, frame, low)
    assert is_audit(key, stream, frame, high) or not is_audit(key, stream, frame, low)
    assert is_audit(key, stream, frame, 1.0)
    assert not is_audit(key, stream, frame, 0.0)


def test_the_draw_has_the_share_and_depends_on_key_and_stream() -> None:
    frames = range(20_000)
    drawn = {
        name: {i for i in frames if is_audit(key, stream, i, 0.05)}
        for name, key, stream in [("a", KEY, "line-1"), ("b", KEY, "line-2"), ("c", KEY[::-1], "line-1")]
    }
    for chosen in drawn.values():
        assert abs(len(chosen) - 1000) < 130  # four standard deviations
    assert len(drawn["a"] & drawn["b"]) < 110
    assert len(drawn["a"] & drawn["c"]) < 110


def test_the_draw_is_the_documented_one() -> None:
    assert [i for i in range(60) if is_audit(KEY, "line-1", i, 0.1)] == [5, 15, 44]


def _decide(score: float, *, threshold: float | None = 2.0, share: float = 0.0, frame: int = 0) -> policy.Decision:
    return Policy(threshold=threshold, audit_share=share).decide(stream="s", frame=frame, score=score, audit_key=KEY)


@given(st.floats(-5, 5))
def test_below_the_threshold_is_sent_the_rest_is_kept(score: float) -> None:
    decision = _decide(score)
    assert decision.action == (Action.DEFER if score < 2.0 else Action.KEEP)
    assert decision.reason == (policy.BELOW_THRESHOLD if score < 2.0 else policy.REACHES_THRESHOLD)
    assert decision.threshold == 2.0
    assert decision.value == max(0.0, 2.0 - score)


def test_audit_is_drawn_before_the_score_is_looked_at() -> None:
    assert {_decide(score, share=1.0).action for score in (-9.0, 9.0, math.nan)} == {Action.AUDIT}


def test_without_calibration_only_audit_samples_leave() -> None:
    decision = _decide(-9.0, threshold=None)
    assert (decision.action, decision.reason) == (Action.KEEP, policy.UNCALIBRATED)
    assert _decide(-9.0, threshold=None, share=1.0).action == Action.AUDIT


def test_a_score_that_is_no_number_is_sent() -> None:
    assert (_decide(math.nan).action, _decide(math.nan).reason) == (Action.DEFER, policy.NO_SCORE)


@given(st.floats(-5, 5))
def test_the_audit_draw_never_costs_a_hard_frame_its_answer(score: float) -> None:
    assert _decide(score, share=1.0).awaits_answer == _decide(score).awaits_answer == (score < 2.0)
