"""Tasks: outputs of a network into predictions and scores, as a card says; what travels of them; signals of missed objects."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.deferral import missed
from shared.deferral.missed import Candidates, Hints, with_hints
from shared.deferral.reading import reader_of
from shared.errors import EngineError, ProtocolError
from shared.release.card import Calibration, Card, DetectionSpec, InputSpec, Lineage, SelfTest
from shared.vision.boxes import nothing
from shared.vision.tasks.shapes import pack_boxes, pack_map, tracks_of, unpack_boxes, unpack_map
from shared.vision.tasks.task import agrees, task_of
from shared.wire.messages import Boxes, Mask, Prediction, decode, encode
from tests.examples import examples
from tests.unit.test_boxes import found

CARD = Card(
    model="student",
    release=1,
    labels=("open", "short"),
    input=InputSpec(width=100, height=50),
    self_test=SelfTest(shape=(1, 1, 1, 3), inputs="", logits=(), tolerance=0.1),
    lineage=Lineage(parent=0, round=0, recipe="", data="", code="", created_at=0.0),
)
DETECTOR = msgspec.structs.replace(CARD, task="detection", detection=DetectionSpec(score_threshold=0.4))
SEGMENTER = msgspec.structs.replace(CARD, task="segmentation", labels=("none", "scratch", "dent"))
MAPS = arrays.arrays(np.int64, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 3))


def head(*rows: tuple[float, ...]) -> np.ndarray:
    """Return a detector's output with these rows (cx, cy, width, height, two classes) and many that are nothing."""
    output = np.zeros((1, 6, 40), np.float32)
    output[0, :, : len(rows)] = np.array(rows, np.float32).reshape(-1, 6).T
    return output


def test_a_detector_tells_what_reaches_its_threshold_in_shares_of_the_frame() -> None:
    output = head((50, 25, 20, 10, 0.9, 0.1), (80, 10, 10, 10, 0.0, 0.3))
    (prediction,) = task_of(DETECTOR).decode(output)
    assert prediction.index == 0
    assert prediction.probabilities == pytest.approx((0.9, 0.3))
    assert prediction.boxes is not None
    told = unpack_boxes(prediction.boxes, width=1920, height=1080)
    assert told.boxes[0] == pytest.approx([768, 432, 1152, 648], abs=0.02)
    assert told.scores == pytest.approx([0.9], abs=1e-4)


def test_a_frame_without_a_box_has_no_class_and_is_not_sure() -> None:
    reading = reader_of(DETECTOR)(head())
    assert reading.predictions[0].index == len(DETECTOR.labels)
    assert reading.scores == [pytest.approx(math.log(1 - 0.2))]
    sure = reader_of(DETECTOR)(head((50, 25, 20, 10, 0.99, 0.0)))
    assert sure.scores[0] > reading.scores[0]


def test_outputs_that_do_not_fit_the_card_are_refused_with_a_clear_word() -> None:
    for card, shape, word in (
        (CARD, (1, 3), "one logit for each"),
        (CARD, (1, 2, 8), "one logit"),
        (DETECTOR, (1, 84, 8400), "no detection head"),
        (DETECTOR, (1, 2), "no detection head"),
        (SEGMENTER, (1, 2, 8, 8), "no maps of 3 labels"),
        (SEGMENTER, (1, 3), "no maps"),
    ):
        with pytest.raises(EngineError, match=word):
            task_of(card).check(shape)
    with pytest.raises(EngineError, match="no task 'depth'"):
        task_of(msgspec.structs.replace(CARD, task="depth"))
    task_of(DETECTOR).check((1, 6, 8400))
    task_of(SEGMENTER).check((1, 3, 8, 8))


@pytest.mark.parametrize(("card", "shape"), [(DETECTOR, (1, 6, 40)), (SEGMENTER, (1, 3, 4, 4))])
def test_numbers_that_are_not_finite_are_refused(card: Card, shape: tuple[int, ...]) -> None:
    broken = np.zeros(shape, np.float32)
    broken.reshape(-1)[5] = np.inf
    with pytest.raises(EngineError, match="not finite"):
        reader_of(card)(broken)


def test_an_outline_has_one_figure_per_class() -> None:
    assert task_of(DETECTOR).outline(head((50, 25, 20, 10, 0.9, 0.1), (80, 10, 10, 10, 0.0, 0.3))) == pytest.approx(np.array([[0.9, 0.3]]))
    maps = np.zeros((2, 3, 4, 4), np.float32)
    assert task_of(SEGMENTER).outline(maps) == pytest.approx(np.full((2, 3), 1 / 3))
    ready = np.array([[[0, 0, 9, 9, 0.4, 1], [0, 0, 9, 8, 0.7, 1], [0, 0, 9, 8, 0.2, 0]]], np.float32)
    labels = tuple(str(one) for one in range(9))
    card = msgspec.structs.replace(DETECTOR, labels=labels)
    assert task_of(card).outline(ready)[0, :2] == pytest.approx([0.2, 0.7])


def test_a_segmenter_tells_the_class_that_covers_most() -> None:
    output = np.full((1, 3, 4, 4), -4.0, np.float32)
    output[0, 0] = 0.0
    output[0, 2, :2] = 4.0
    reading = reader_of(SEGMENTER)(output)
    (prediction,) = reading.predictions
    assert (prediction.index, prediction.probabilities) == (2, (0.5, 0.0, 0.5))
    assert prediction.mask is not None
    assert unpack_map(prediction.mask).tolist() == [[2] * 4] * 2 + [[0] * 4] * 2
    assert 0.9 < reading.scores[0] < 1.0


def test_a_card_calibrated_for_a_foreign_score_falls_back_to_its_tasks_own() -> None:
    calibration = Calibration(score="margin", threshold=1.0, epsilon=0.01, delta=0.05, risk_bound=0.01, units=1, frames=1)
    foreign = msgspec.structs.replace(DETECTOR, calibration=calibration)
    known = msgspec.structs.replace(DETECTOR, calibration=msgspec.structs.replace(calibration, score="least_sure_box"))
    output = head((50, 25, 20, 10, 0.5, 0.0), (20, 25, 20, 10, 0.39, 0.0))
    assert reader_of(foreign)(output).scores == reader_of(DETECTOR)(output).scores
    assert reader_of(known)(output).scores == [pytest.approx(math.log(0.5))]


def said(*rows: tuple[float, float, float, float, float, int]) -> Prediction:
    told = found(*rows)
    return Prediction(index=0, probabilities=(), boxes=pack_boxes(told, width=100, height=100))


def test_predictions_agree_on_the_same_objects_only() -> None:
    one = said((10, 10, 30, 30, 0.9, 0), (50, 50, 70, 70, 0.6, 1))
    assert agrees(one, said((50, 52, 70, 70, 0.9, 1), (10, 10, 30, 28, 0.3, 0)))
    assert not agrees(one, said((10, 10, 30, 30, 0.9, 0)))
    assert not agrees(one, said((10, 10, 30, 30, 0.9, 0), (50, 50, 70, 70, 0.6, 0)))
    assert not agrees(one, said((10, 10, 30, 30, 0.9, 0), (80, 50, 99, 70, 0.6, 1)))
    assert agrees(said(), said())
    assert not agrees(one, Prediction(index=0, probabilities=()))
    assert not agrees(one, Prediction(index=0, probabilities=(), boxes=Boxes(places=b"1", scores=b"", classes=b"")))


def test_maps_agree_when_their_areas_nearly_do() -> None:
    mine = np.zeros((8, 8), np.int64)
    mine[:4] = 1
    near, far = mine.copy(), mine.copy()
    near[3, :4], far[1:] = 0, 0
    one, other, third = (Prediction(index=1, probabilities=(), mask=pack_map(chart)) for chart in (mine, near, far))
    assert agrees(one, other)
    assert not agrees(one, third)
    assert agrees(one, Prediction(index=1, probabilities=(), mask=pack_map(mine.repeat(2, axis=0).repeat(2, axis=1))))
    assert not agrees(one, Prediction(index=1, probabilities=(), mask=Mask(width=8, height=8, runs=b"1234")))


@settings(max_examples=examples(50), deadline=None)
@given(MAPS)
def test_maps_travel(chart: np.ndarray) -> None:
    assert np.array_equal(unpack_map(decode(Mask, encode(pack_map(chart)))), chart)


def test_a_long_run_is_several_and_short_columns_are_refused() -> None:
    plain = np.full((300, 300), 7)
    assert np.array_equal(unpack_map(pack_map(plain)), plain)
    for mask in (Mask(width=0, height=5, runs=b""), Mask(width=1 << 20, height=1 << 20, runs=b""), Mask(width=2, height=2, runs=b"abc")):
        with pytest.raises(ProtocolError):
            unpack_map(mask)
    tracked = pack_boxes(found((1, 2, 3, 4, 0.5, 6)), width=10, height=10, tracks=np.array([70_000]))
    assert tracks_of(tracked).tolist() == [70_000]
    assert tracks_of(msgspec.structs.replace(tracked, tracks=b"")).tolist() == [-1]
    assert unpack_boxes(tracked).classes.tolist() == [6]
    with pytest.raises(ProtocolError):
        tracks_of(msgspec.structs.replace(tracked, tracks=b"123"))
    assert len(unpack_boxes(pack_boxes(nothing(), width=1, height=1))) == 0


def test_old_bytes_of_a_prediction_are_still_one() -> None:
    assert decode(Prediction, msgspec.msgpack.encode([1, [0.25, 0.75]])) == Prediction(index=1, probabilities=(0.25, 0.75))


SCORES = arrays.arrays(np.float64, st.integers(0, 8), elements=st.floats(0, 1))


@settings(max_examples=examples(50), deadline=None)
@given(SCORES, st.floats(0, 0.399))
def test_another_doubtful_candidate_never_makes_a_frame_surer(scores: np.ndarray, doubt: float) -> None:
    before = Candidates(scores=scores, threshold=0.4)
    after = Candidates(scores=np.append(scores, doubt), threshold=0.4)
    for name in ("nothing_missed", "all_right", "best_doubt"):
        assert missed.SCORES[name](after) <= missed.SCORES[name](before) + 1e-12
    assert all(-np.inf < one <= 0.0 for one in (score(before) for score in missed.SCORES.values()))
    assert len(missed.statistics(before)) == len(missed.SCORES) + 2


@given(st.floats(-20, 0), st.lists(st.floats(0, 1), max_size=3), st.floats(0, 1), st.integers(0, 5))
def test_hints_only_take_away(score: float, vanished: list[float], moved: float, flicker: int) -> None:
    hints = Hints(vanished=tuple(vanished), moved=moved, flicker=flicker)
    assert with_hints(score, hints) <= score
    assert with_hints(score, Hints()) == score


def test_the_hint_that_takes_most_gives_its_name() -> None:
    assert missed.reason_of(-0.05, Hints(vanished=(0.8,), flicker=1)) == "track_vanished"
    assert missed.reason_of(-0.05, Hints(moved=1.0)) == "moved_without_box"
    assert missed.reason_of(-3.0, Hints(flicker=1)) == ""
