"""Objects in a stream: followed, told when they vanish, joined with answers that come late; and the part of a frame that is sent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.objects import Objects, Seen
from edge.tracks import CONFIRMED, PATIENCE, REFUTED, Tracks, pairs
from shared.errors import InputError
from shared.vision.boxes import Detections, nothing
from shared.vision.crops import cut, merged, paste, uncertain_part
from shared.vision.tasks.shapes import tracks_of, unpack_boxes
from shared.wire.messages import Crop
from tests.examples import examples
from tests.unit.test_boxes import found
from tests.unit.test_tasks import DETECTOR

HERE, THERE = (0.3, 0.3, 0.5, 0.5), (0.6, 0.6, 0.8, 0.8)
GREY = np.full((50, 100, 3), 90, np.uint8)


def at(*boxes: tuple[float, float, float, float], score: float = 0.9, label: int = 0) -> Detections:
    return found(*((*box, score, label) for box in boxes))


def test_a_moving_object_keeps_its_number() -> None:
    tracks, seen = Tracks(), set()
    for number in range(8):  # more than half its width a frame: only a prediction joins it
        x = 0.1 + 0.02 * number * number / 2 if number < 3 else 0.1 + 0.04 + 0.06 * (number - 2)
        seen |= set(tracks.follow(number, at((x, 0.4, x + 0.1, 0.5))).tracks.tolist())
    assert seen == {0}
    assert tracks.follow(8, at(HERE, (0.46, 0.4, 0.56, 0.5))).changes == 1


def test_an_object_that_vanishes_inside_the_picture_is_told_once() -> None:
    tracks = Tracks()
    for number in range(4):
        tracks.follow(number, at(HERE, (0.0, 0.0, 0.1, 0.1), score=0.8))
    gone = tracks.follow(4, nothing())
    assert gone.vanished == (pytest.approx(0.8),)  # not the one at the edge
    assert tracks.follow(5, nothing()).vanished == ()
    for number in range(6, 6 + PATIENCE):
        tracks.follow(number, nothing())
    assert len(tracks) == 0


def test_a_box_seen_once_vanishes_silently_and_a_stream_that_begins_anew_has_no_past() -> None:
    tracks = Tracks()
    tracks.follow(0, at(HERE))
    assert tracks.follow(1, nothing()).vanished == ()
    for number in range(2, 6):
        tracks.follow(number, at(HERE))
    assert tracks.follow(0, nothing()).vanished == ()


def test_a_late_answer_finds_the_object_where_it_was() -> None:
    tracks = Tracks()
    for number in range(6):
        x = 0.1 + 0.05 * number
        tracks.follow(number, at((x, 0.4, x + 0.1, 0.5), (0.8, 0.8, 0.9, 0.9)))
    tracks.answer(1, at((0.15, 0.4, 0.25, 0.5), (0.2, 0.1, 0.3, 0.2), label=4))
    moving, still = tracks.get(0), tracks.get(1)
    assert moving is not None
    assert still is not None
    assert (moving.word, moving.label, still.word) == (CONFIRMED, 4, REFUTED)
    assert tracks.settled(6, at((0.4, 0.4, 0.5, 0.5), (0.2, 0.1, 0.3, 0.2), (0.6, 0.1, 0.7, 0.2)).boxes).tolist() == [0, 2, -1]
    tracks.answer(77, at(HERE))
    assert len(tracks) == 3


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=4), max_size=12), st.data())
def test_whatever_is_seen_and_answered_each_box_has_one_number(frames: list[list[tuple[int, int]]], data: st.DataObject) -> None:
    tracks = Tracks()
    for number, corners in enumerate(frames):
        boxes = at(*((x / 10, y / 10, x / 10 + 0.15, y / 10 + 0.15) for x, y in corners))
        followed = tracks.follow(number, boxes)
        assert len(set(followed.tracks.tolist())) == len(boxes)
        assert all(0.0 <= one <= 1.0 for one in followed.vanished)
        if data.draw(st.booleans()):
            tracks.answer(data.draw(st.integers(0, number)), boxes)
        assert set(tracks.settled(number, boxes.boxes).tolist()) <= {-1, *range(1000)}


def test_pairs_take_the_highest_first() -> None:
    assert pairs(np.array([[0.9, 0.8], [0.85, 0.1]], np.float32), 0.3) == {0: 0}
    assert pairs(np.array([[0.9, 0.8], [0.85, 0.4]], np.float32), 0.3) == {0: 0, 1: 1}


def see(objects: Objects, frame: int, seen: Detections, unit: str = "u", pixels: np.ndarray = GREY) -> Seen:
    return objects.see(DETECTOR, frame=frame, unit=unit, pixels=pixels, candidates=seen.scaled(horizontally=100, vertically=50))


def test_an_answered_object_is_not_asked_for_again() -> None:
    objects, doubtful = Objects(), at(HERE, score=0.3)
    steady = [see(objects, number, doubtful) for number in range(3)][-1]
    assert len(unpack_boxes(steady.prediction.boxes)) == 0
    assert steady.score < -0.3
    objects.answered(2, at(HERE, label=1))
    after = see(objects, 3, doubtful)
    told = unpack_boxes(after.prediction.boxes)
    assert (told.classes.tolist(), tracks_of(after.prediction.boxes).tolist()) == ([1], [0])
    again = see(objects, 4, doubtful)
    assert again.score == pytest.approx(0.0)
    assert see(objects, 5, doubtful, unit="another").score < -0.3


def test_a_doubt_that_was_answered_is_not_asked_again_and_the_answer_speaks_for_its_part_only() -> None:
    tracks = Tracks()
    tracks.follow(0, at(HERE), untold=np.array([THERE], np.float32))
    tracks.answer(0, at(HERE, label=1), (0.5, 0.5, 0.9, 0.9))
    first, doubt = tracks.get(0), tracks.get(1)
    assert first is not None
    assert doubt is not None
    assert (first.word, first.label, doubt.word) == ("unanswered", 0, REFUTED)
    for number in range(1, 3 * PATIENCE):  # it is seen and never told, and stays answered
        assert tracks.settled(number, np.array([THERE, HERE], np.float32)).tolist() == [1, -1]
        tracks.follow(number, at(HERE))
    for number in range(3 * PATIENCE, 5 * PATIENCE):
        tracks.follow(number, at(HERE))
    assert tracks.settled(5 * PATIENCE, np.array([THERE], np.float32)).tolist() == [-1]


def test_a_refuted_object_is_not_told_again() -> None:
    objects = Objects()
    see(objects, 0, at(HERE, THERE))
    objects.answered(0, at(THERE))
    after = see(objects, 1, at(HERE, THERE))
    assert unpack_boxes(after.prediction.boxes).boxes[0] == pytest.approx(THERE, abs=1e-3)
    assert len(unpack_boxes(after.prediction.boxes)) == 1


def test_a_vanished_object_and_motion_without_a_box_make_a_frame_doubtful() -> None:
    objects = Objects()
    for number in range(4):
        sure = see(objects, number, at(HERE, THERE))
    gone = see(objects, 4, at(THERE))
    assert (gone.reason, gone.part) == ("track_vanished", None)
    assert gone.score < sure.score - 2
    moved = GREY.copy()
    moved[:, :30] = 200
    assert see(objects, 5, at(THERE), pixels=moved).reason == "moved_without_box"


def test_the_uncertain_part_holds_what_is_doubted() -> None:
    part = uncertain_part(at(HERE, score=0.999).take(np.array([0])), 0.4)
    assert part is not None
    both = Detections(boxes=np.array([HERE, THERE], np.float32), scores=np.array([0.95, 0.3], np.float32), classes=np.zeros(2, np.int64))
    left, top, right, bottom = uncertain_part(both, 0.4) or (0, 0, 0, 0)
    assert (left, top, right, bottom) == pytest.approx((0.55, 0.55, 0.85, 0.85))
    assert uncertain_part(nothing(), 0.4) is None
    assert uncertain_part(at((0.0, 0.0, 0.9, 0.9), score=0.3), 0.4) is None


@settings(max_examples=examples(50), deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.tuples(*[st.floats(0, 1)] * 4))
def test_a_part_lies_in_its_frame_and_is_pasted_back_where_it_was(width: int, height: int, sides: tuple[float, ...]) -> None:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    left, top = min(sides[0], sides[2]), min(sides[1], sides[3])
    piece, crop = cut(pixels, (left, top, max(sides[0], sides[2]), max(sides[1], sides[3])))
    whole = paste(piece, crop, max_pixels=1600)
    assert whole.shape == pixels.shape
    inside = np.s_[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
    assert np.array_equal(whole[inside], pixels[inside])
    assert (whole == 114).sum() >= 3 * (width * height - crop.width * crop.height)


def test_a_part_that_lies_about_itself_is_refused() -> None:
    good = Crop(x=0, y=0, width=100, height=50, of_width=200, of_height=100)
    for crop in (
        Crop(x=0, y=0, width=99, height=50, of_width=200, of_height=100),
        Crop(x=150, y=0, width=100, height=50, of_width=200, of_height=100),
        Crop(x=-1, y=0, width=100, height=50, of_width=200, of_height=100),
        Crop(x=0, y=0, width=100, height=50, of_width=1 << 20, of_height=1 << 20),
    ):
        with pytest.raises(InputError):
            paste(GREY, crop, max_pixels=1 << 20)
    assert paste(GREY, good, max_pixels=20_000).shape == (100, 200, 3)


def test_an_answer_speaks_for_its_part_only() -> None:
    own, answer = at(HERE, THERE), at((0.31, 0.31, 0.5, 0.5), (0.9, 0.9, 1.0, 1.0), label=1)
    after = merged(own, answer, (0.2, 0.2, 0.55, 0.55))
    assert after.classes.tolist() == [0, 1]
    assert merged(own, answer, None) is answer
