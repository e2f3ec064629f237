"""The deferral bench on shifts, by hand-made numbers: worlds and their oracle, audits, a threshold that follows, alarms, bytes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.foundry.calibrate import Answers
from shared.deferral.adaptive import window_of
from shared.deferral.audit import is_audit
from shared.deferral.policy import BELOW_THRESHOLD
from shared.deferral.steadiness import REFERENCE, Steadiness
from shared.wire.chunks import CHUNK_BYTES
from shared.wire.envelope import OVERHEAD_BYTES
from shared.wire.messages import Prediction, encode
from tests.bench.deferrals import alarms, following
from tests.bench.deferrals.sending import Line, case_of
from tests.bench.deferrals.uplink import AUDIT_KEY, STREAM, audit_draw, uplink
from tests.bench.deferrals.videos import Video, ratio
from tests.bench.deferrals.worlds import World

SMALL = World.of(np.array([4.0, 1.0, 3.0, 2.0]), np.array([False, True, True, False]), ("b", "a", "b", "a"))


def plain(errors: int, frames: int, *, above: float = 0.0) -> World:
    """A world of units of two frames: `errors` of the frames differ, spread evenly, and look as sure as any; scores above `above`."""
    scores = above + np.arange(frames) * 7.0 % frames / frames
    return World.of(scores, np.arange(frames) % frames < errors, tuple(f"unit-{number // 2}" for number in range(frames)))


def test_a_worlds_risk_forwards_and_oracle_by_hand() -> None:
    assert SMALL.scores.tolist() == [1.0, 2.0, 4.0, 3.0], "unit by unit, the order within a unit kept"
    assert (SMALL.risk(1.0), SMALL.risk(2.0), SMALL.risk(3.5)) == (0.5, 0.25, 0.0)
    assert (SMALL.forwarded(1.0), SMALL.forwarded(3.5)) == (0.0, 0.75)
    assert [SMALL.oracle(epsilon) for epsilon in (0.5, 0.25, 0.2)] == [1.0, 2.0, 4.0]
    assert World.of(np.array([1.0]), np.array([True]), ("a",)).oracle(0.5) > 1.0, "nothing may be kept"


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.01, 0.1, 0.3]))
def test_no_lower_threshold_than_the_oracles_holds_epsilon(seed: int, epsilon: float) -> None:
    random = np.random.default_rng(seed)
    world = World.of(random.integers(0, 8, 40).astype(float), random.random(40) < 0.3, [f"{number // 3}" for number in range(40)])
    best = world.oracle(epsilon)
    assert world.risk(best) <= epsilon
    assert all(world.risk(score) > epsilon for score in world.scores if score < best)


@given(st.integers(0, 10_000))
def test_a_bootstrap_has_whole_units_only(seed: int) -> None:
    world = World.of(np.arange(10.0), np.arange(10) % 3 == 0, ("a", "a", "a", "b", "b", "c", "d", "d", "d", "d"))
    found = world.resampled(np.random.default_rng(seed))
    own = {tuple(world.scores[start : start + size]) for start, size in zip(world.starts, world.sizes, strict=True)}
    assert len(found.sizes) == 4
    for start, size in zip(found.starts, found.sizes, strict=True):
        part = found.scores[start : start + size]
        assert tuple(part) in own
        assert found.differs[start : start + size].tolist() == [int(score) % 3 == 0 for score in part]


def test_audit_samples_are_as_many_as_asked_for_and_every_frame_comes_as_often() -> None:
    world = World.of(np.arange(6.0), np.zeros(6, bool), ("a", "a", "a", "a", "b", "b"))
    drawn = world.audits(np.random.default_rng(1), 60_000, 0.01)
    shares = np.bincount(drawn, minlength=6) / len(drawn)
    np.testing.assert_allclose(shares, 1 / 6, atol=0.01)
    assert (world.audits(np.random.default_rng(1), 7, 1.0) % 4 == 0).all(), "of a unit whose every frame is drawn the first counts"


def test_the_followed_threshold_comes_back_and_the_cards_alone_does_not() -> None:
    """Before: no frame differs. After: a tenth do, all of them surer than the card's threshold; the oracle forwards them all."""
    before = plain(0, 400)
    scores = np.linspace(0.0, 1.0, 400)
    after = World.of(scores, scores < 0.1, tuple(f"unit-{number}" for number in range(400)))
    (found,) = following.drawn(before, after, start=0.0, epsilon=0.05, share=0.5, draws=0, streams=2)
    assert found.card_excess == pytest.approx(0.05)
    assert found.card_forwarded == 0.0
    assert found.oracle_forwarded == pytest.approx(0.05)
    assert found.excess < 0.01
    assert 0.04 < found.forwarded < 0.1


def test_draws_are_paired_between_students_and_the_first_is_the_data_itself() -> None:
    worlds = (plain(3, 60), plain(9, 60))
    one, two = (following.drawn(*worlds, start=start, epsilon=0.1, share=0.5, draws=3, streams=1) for start in (0.1, 0.3))
    assert [each.oracle_forwarded for each in one] == [each.oracle_forwarded for each in two], "the same bootstraps"
    assert one[0].oracle_forwarded == worlds[1].forwarded(worlds[1].oracle(0.1))
    assert window_of(0.1) == 100


def test_an_alarm_is_counted_from_the_change() -> None:
    certain, wrong = plain(0, 40), plain(40, 40)
    found = alarms.delays(certain, wrong, streams=3, share=0.5, seed=1)
    assert (found.streams, found.early, found.caught) == (3, 0, 1.0)
    state, sooner = Steadiness(), 0
    for _ in range(alarms.WARM):
        state = state.add(False)
    while state.recovery is None:
        state, sooner = state.add(True), sooner + 1
    assert set(found.found) == {sooner}
    assert found.median == sooner


def test_streams_without_an_alarm_have_no_delay() -> None:
    found = alarms.Delays(streams=4, early=1, found=(10, 30))
    assert (found.caught, found.median) == (0.5, 30.0)
    assert alarms.Delays(streams=4, early=0, found=(10,)).median == math.inf
    assert alarms.first_alarm(Steadiness(), np.zeros(REFERENCE + 5, bool))[0] is None


def test_false_alarms_are_held_against_what_is_promised() -> None:
    found = alarms.undisturbed(plain(4, 100), streams=5, share=0.5, seed=2, samples=400)
    assert (found.streams, found.alarmed) == (5, 0)
    assert found.promised == pytest.approx(0.04)
    assert found.most == pytest.approx(1 - 0.05 ** (1 / 5))


def test_bytes_and_loss_by_hand() -> None:
    """Four frames of 10 to 40 bytes: the second is deferred and the expert right on what arrives, the fourth is wrongly kept."""
    labels = np.array([0, 0, 0, 0])
    right, wrong = [5.0, 0.0], [0.0, 5.0]
    student = np.array([right, wrong, right, wrong], np.float32)
    arrived = np.array([right, right, wrong, right], np.float32)
    one = Answers(student=student, expert=arrived, labels=labels, units=("a", "b", "c", "d"))
    sizes, deferred = np.array([10, 20, 30, 40]), np.array([False, True, False, False])
    found = uplink([one, one], [deferred, deferred], arrived=arrived, sizes=sizes, audit_share=0.0)
    assert found.ratio[0] == pytest.approx(20 / 100)
    assert found.minus_expert[0] == pytest.approx(3 / 4 - 3 / 4), "the third is the student's alone, the fourth the expert's"
    assert (found.deferred[0], found.audited[0]) == (0.25, 0.0)
    everything = uplink([one], [deferred], arrived=arrived, sizes=sizes, audit_share=1.0)
    assert everything.ratio[0] == 1.0
    assert everything.audited[0] == 0.75, "what is deferred is not counted twice"


def test_the_audit_draw_is_the_devices() -> None:
    drawn = audit_draw(500, 0.1)
    assert drawn.tolist() == [is_audit(AUDIT_KEY, STREAM, number, 0.1) for number in range(500)]
    assert 20 < drawn.sum() < 80


def test_a_videos_ratio_by_hand() -> None:
    one = Video(name="one", frames=100, stream_bytes=10_000, case_bytes=1000.0, moving=0.5)
    assert one.ours(0.08, 0.02) == pytest.approx(10_000.0)
    assert one.row(0.08, 0.02)["ratio"] == pytest.approx(1.0)
    assert one.row(0.08, 0.02)["ratio_gated"] == pytest.approx(0.6), "audits come before the gate"
    two = Video(name="two", frames=100, stream_bytes=30_000, case_bytes=1000.0, moving=1.0)
    assert ratio([one, two], 0.08, 0.02) == pytest.approx(0.5)


def test_a_cases_bytes_are_those_of_its_sealed_chunks() -> None:
    """Noise in png does not shrink: 96 x 96 pixels are two chunks, each with an envelope; a small case's head is compressed."""
    prediction = Prediction(index=0, probabilities=(0.7, 0.3))
    noise = np.random.default_rng(1).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    large = case_of(noise, prediction, number=3, unit="board-1", codec="png", quality=100)
    assert large.reason == BELOW_THRESHOLD
    assert CHUNK_BYTES < len(encode(large)) < 2 * CHUNK_BYTES
    assert Line().bytes_of(large) == len(encode(large)) + 2 * OVERHEAD_BYTES
    small = case_of(np.zeros((8, 8, 3), np.uint8), prediction, number=4, unit="board-1", codec="webp", quality=50)
    assert OVERHEAD_BYTES < Line().bytes_of(small) <= len(encode(small)) + OVERHEAD_BYTES
