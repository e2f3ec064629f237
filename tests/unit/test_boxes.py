"""Boxes, heads and mean average precision: hand-made cases and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.errors import EngineError, InputError
from shared.vision.boxes import Detections, areas, clipped, joined, nothing, overlap, suppress
from shared.vision.tasks.heads import BOXES, CLASSES, OBJECTNESS, decode_yolo, head_of
from shared.vision.tasks.precision import COCO_THRESHOLDS, Truth, matched, mean_average_precision, missed
from tests.examples import examples

LIMITS = {"score_threshold": 0.25, "iou_threshold": 0.5, "most": 100}
CORNERS = arrays.arrays(np.float32, (4,), elements=st.floats(0, 100, width=32))


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(boxes=table[:, :4], scores=table[:, 4], classes=table[:, 5].astype(np.int64))


def truth(*rows: tuple[float, float, float, float, int]) -> Truth:
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Truth(boxes=table[:, :4], classes=table[:, 4].astype(np.int64))


@st.composite
def scenes(draw: st.DrawFn) -> Detections:
    many = draw(st.integers(0, 12))
    corner = draw(arrays.arrays(np.float32, (many, 2), elements=st.integers(0, 40).map(float)))
    sides = draw(arrays.arrays(np.float32, (many, 2), elements=st.integers(1, 20).map(float)))
    scores = draw(arrays.arrays(np.float32, (many,), elements=st.floats(0, 1, width=32)))
    classes = draw(arrays.arrays(np.int64, (many,), elements=st.integers(0, 2)))
    return Detections(boxes=np.concatenate([corner, corner + sides], axis=1), scores=scores, classes=classes)


def test_overlap_of_known_boxes() -> None:
    one = np.array([[0, 0, 4, 4]], np.float32)
    others = np.array([[0, 0, 4, 4], [2, 0, 6, 4], [4, 4, 8, 8], [1, 1, 1, 1]], np.float32)
    assert overlap(one, others)[0] == pytest.approx([1.0, 1 / 3, 0.0, 0.0])
    assert areas(np.array([[3, 3, 1, 1]], np.float32)) == [0.0]
    assert overlap(others[3:], others[3:]) == [[0.0]]


@settings(max_examples=examples(50), deadline=None)
@given(scenes())
def test_overlap_is_symmetric_and_a_box_covers_itself(scene: Detections) -> None:
    table = overlap(scene.boxes, scene.boxes)
    assert np.array_equal(table, table.T)
    assert np.all((table >= 0) & (table <= 1))
    assert np.allclose(np.diagonal(table), 1.0)


@settings(max_examples=examples(50), deadline=None)
@given(scenes(), st.floats(0.1, 0.9))
def test_suppression_keeps_the_surest_and_leaves_no_doubles(scene: Detections, limit: float) -> None:
    kept = suppress(scene, iou_threshold=limit, most=100)
    assert np.all(np.diff(kept.scores) <= 0)
    for one in range(3):
        mine = kept.take(kept.classes == one)
        doubles = overlap(mine.boxes, mine.boxes) > limit
        assert not np.any(doubles & ~np.eye(len(mine), dtype=bool))
        rest = scene.take(scene.classes == one)
        if len(rest):  # whatever went overlaps something surer that stayed
            assert np.all((overlap(rest.boxes, mine.boxes) > limit).any(axis=1) | np.isin(rest.scores, mine.scores))
    again = suppress(kept, iou_threshold=limit, most=100)
    assert np.array_equal(again.boxes, kept.boxes)


def test_suppression_goes_class_by_class_and_stops_at_the_most() -> None:
    scene = found((0, 0, 9, 9, 0.5, 0), (0, 0, 9, 8, 0.9, 0), (0, 0, 9, 9, 0.7, 1), (50, 50, 60, 60, 0.3, 0))
    assert suppress(scene, iou_threshold=0.5, most=9).scores.tolist() == pytest.approx([0.9, 0.7, 0.3])
    assert len(suppress(scene, iou_threshold=0.5, most=2)) == 2
    assert len(suppress(nothing(), iou_threshold=0.5, most=2)) == 0


def test_detections_move_scale_join_and_are_cut_off() -> None:
    one = found((1, 2, 3, 4, 0.5, 0)).scaled(horizontally=2, vertically=10).moved(right=1, down=-5)
    assert one.boxes.tolist() == [[3, 15, 7, 35]]
    assert joined(one, found((0, 0, 1, 1, 0.9, 1))).classes.tolist() == [1, 0]
    assert clipped(np.array([[-5, 3, 50, 60]], np.float32), width=40, height=50).tolist() == [[0, 3, 40, 50]]


HEAD = np.zeros((1, 6, 5), np.float32)  # 2 labels, 5 candidates: two doubles, one of another class, two that are nothing
HEAD[0, :, 0], HEAD[0, :, 1], HEAD[0, :, 2] = [20, 20, 10, 10, 0.9, 0.1], [21, 20, 10, 10, 0.6, 0.0], [20, 20, 10, 10, 0.0, 0.5]


def test_the_plain_head_is_read_in_both_directions() -> None:
    for output in (HEAD, HEAD.transpose(0, 2, 1)):
        (one,) = decode_yolo(output, labels=2, **LIMITS)
        assert one.classes.tolist() == [0, 1]
        assert one.scores.tolist() == pytest.approx([0.9, 0.5])
        assert one.boxes[0].tolist() == [15, 15, 25, 25]


def test_objectness_is_multiplied_in() -> None:
    output = np.array([[[20, 20, 10, 10, 0.5, 0.8, 0.1], [60, 60, 10, 10, 0.1, 1.0, 0.0]]], np.float32)
    (one,) = decode_yolo(output, labels=2, **LIMITS)
    assert one.scores.tolist() == pytest.approx([0.4])


def test_a_head_that_has_suppressed_already() -> None:
    output = np.array([[[0, 0, 9, 9, 0.4, 3], [0, 0, 9, 8, 0.9, 3], [0, 0, 9, 9, 0.9, 7], [1, 1, 2, 2, 0.1, 0]]], np.float32)
    (one,) = decode_yolo(output, labels=5, **LIMITS)
    assert one.scores.tolist() == pytest.approx([0.9, 0.4])
    assert decode_yolo(output, labels=2, head=BOXES, **LIMITS)[0].classes.tolist() == []


def test_heads_are_told_by_their_columns() -> None:
    assert head_of((1, 84, 8400), 80) == head_of((1, 8400, 84), 80) == CLASSES
    assert head_of((1, 25200, 85), 80) == OBJECTNESS
    assert head_of((1, 300, 6), 80) == BOXES
    for shape in ((1, 1000), (1, 84, 80, 80), (1, 8400, 90)):
        with pytest.raises(EngineError, match="no detection head"):
            head_of(shape, 80)


def test_numbers_that_are_not_finite_and_foreign_heads_are_refused() -> None:
    broken = HEAD.copy()
    broken[0, 2, 1] = np.nan
    with pytest.raises(EngineError, match="not finite"):
        decode_yolo(broken, labels=2, **LIMITS)
    with pytest.raises(EngineError, match="no axis of 6"):
        decode_yolo(np.zeros((1, 8, 9), np.float32), labels=2, head=CLASSES, **LIMITS)
    with pytest.raises(EngineError, match="no detection head 'fcos'"):
        decode_yolo(HEAD, labels=2, head="fcos", **LIMITS)


def test_mean_average_precision_of_hand_made_scenes() -> None:
    two = truth((0, 0, 10, 10, 0), (20, 20, 30, 30, 0))
    # hit, miss, hit: precision 1 up to recall 1/2, then 2/3: 51 recalls of 101 at 1, 50 at 2/3
    scene = found((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.8, 0), (20, 20, 30, 30, 0.7, 0))
    assert mean_average_precision([scene], [two]) == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert mean_average_precision([scene.take(np.array([0]))], [two]) == pytest.approx(51 / 101)
    assert mean_average_precision([nothing()], [two]) == 0.0
    assert mean_average_precision([scene], [truth()]) == 0.0
    # a double of a found object is a false alarm; the wrong class finds nothing
    doubled = found((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.8, 0), (20, 20, 30, 30, 0.7, 1))
    assert mean_average_precision([doubled], [two]) == pytest.approx(51 / 101)
    # 0.6 overlap counts at 0.5, 0.55 and 0.6 only
    shifted = found((0, 0, 10, 6, 0.9, 0))
    assert mean_average_precision([shifted], [truth((0, 0, 10, 10, 0))], thresholds=COCO_THRESHOLDS) == pytest.approx(0.3)
    with pytest.raises(InputError):
        mean_average_precision([], [two])


def test_which_objects_were_missed() -> None:
    there = truth((0, 0, 10, 10, 0), (20, 20, 30, 30, 1))
    hits, seen = matched(found((0, 0, 10, 9, 0.2, 0), (20, 20, 30, 30, 0.9, 0)), there, threshold=0.5)
    assert hits.tolist() == [True, False]
    assert seen.tolist() == [True, False]
    assert missed(nothing(), there) == 2
    assert missed(found((0, 0, 10, 9, 0.2, 0)), truth()) == 0


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(scenes(), min_size=1, max_size=4))
def test_the_truth_itself_is_perfect_and_less_found_is_never_better(pictures: list[Detections]) -> None:
    pictures = [suppress(one, iou_threshold=0.4, most=100) for one in pictures]
    real = [Truth(boxes=one.boxes, classes=one.classes) for one in pictures]
    whole = mean_average_precision(pictures, real, thresholds=COCO_THRESHOLDS)
    assert whole == pytest.approx(1.0 if any(len(one) for one in pictures) else 0.0)
    halved = [one.take(one.scores >= 0.5) for one in pictures]
    assert mean_average_precision(halved, real) <= whole + 1e-9
