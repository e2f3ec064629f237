"""Scenes: boxes stay on what they were drawn around, however a crop is cut and turned, and each has cells that answer for it."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InputError
from shared.learning.scenes import PARTLY, Scenes, assigned, check, clipped, crops, turned
from tests.plates import plates


@settings(deadline=None)
@given(turns=st.integers(0, 3), mirrored=st.booleans(), corner=st.tuples(st.integers(0, 20), st.integers(0, 20)))
def test_a_box_turns_with_its_picture(turns: int, mirrored: bool, corner: tuple[int, int]) -> None:
    left, top = corner
    picture = np.zeros((32, 32), np.uint8)
    picture[top : top + 5, left : left + 9] = 1
    moved = np.rot90(picture, turns)
    moved = moved[:, ::-1] if mirrored else moved
    box = turned(np.array([[left, top, left + 9, top + 5]], np.float32), 32, turns, mirrored=mirrored)[0].astype(int)
    assert moved[box[1] : box[3], box[0] : box[2]].sum() == moved.sum() == (box[3] - box[1]) * (box[2] - box[0])


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_every_box_of_a_crop_holds_what_its_class_says(seed: int) -> None:
    batch = crops(plates(8), side=32, count=6, turning=True, random=np.random.default_rng(seed))
    assert batch.frames.shape == (6, 32, 32, 1)
    assert set(batch.classes.tolist()) <= {PARTLY, 0, 1}
    for box, kind, picture in zip(batch.boxes.astype(int), batch.classes, batch.pictures, strict=True):
        inside = batch.frames[picture, box[1] : box[3], box[0] : box[2]]
        assert inside.size
        assert (inside == inside[0, 0]).all()
        assert inside[0, 0, 0] in (20, 240)
        assert kind == PARTLY or inside[0, 0, 0] == (240, 20)[kind]


def test_the_same_seed_gives_the_same_crops_and_most_hold_a_thing() -> None:
    first, second = (crops(plates(8), side=32, count=64, turning=True, random=np.random.default_rng([1, 7])) for _ in range(2))
    assert np.array_equal(first.frames, second.frames)
    assert np.array_equal(first.boxes, second.boxes)
    assert len(np.unique(first.pictures[first.classes >= 0])) > 50


def test_a_box_that_is_cut_down_too_far_is_neither_thing_nor_background() -> None:
    boxes = np.array([[-8, 4, 4, 16], [20, 20, 40, 30], [40, 40, 50, 50], [-4, 8, 8, 16]], np.float32)
    cut, classes = clipped(boxes, np.array([0, 1, 1, 0]), 32)
    assert cut.tolist() == [[0, 4, 4, 16], [20, 20, 32, 30], [0, 8, 8, 16]]
    assert classes.tolist() == [PARTLY, 1, 0]
    scenes = Scenes(frames=np.zeros((1, 32, 32, 1), np.uint8), boxes=cut, classes=classes, pictures=np.zeros(3, np.int64))
    targets = assigned(scenes, stride=4)
    assert targets.silent[0].reshape(8, 8)[1:4, 0].tolist() == [True, False, False]  # rows 2 and 3 answer for the whole box
    assert set(targets.classes.tolist()) == {0, 1}


def test_cells_around_a_middle_answer_and_the_smaller_box_wins() -> None:
    large, small = [0, 0, 64, 64], [28, 28, 40, 40]
    scenes = Scenes(
        frames=np.zeros((2, 64, 64, 1), np.uint8),
        boxes=np.array([large, small, [8, 8, 18, 18]], np.float32),
        classes=np.array([0, 1, 0]),
        pictures=np.array([0, 0, 1]),
    )
    targets = assigned(scenes, stride=8)
    owners = {
        (int(picture), int(cell)): int(kind) for picture, cell, kind in zip(targets.pictures, targets.cells, targets.classes, strict=True)
    }
    assert owners[0, 3 * 8 + 3] == owners[0, 4 * 8 + 4] == 1  # both boxes hold these cells
    assert owners[1, 8 + 1] == 0
    assert all(1 <= cell // 8 <= 5 for picture, cell in owners if picture == 0)  # a large box does not claim all it covers
    assert not targets.silent.any()


def test_taken_keeps_boxes_with_their_pictures() -> None:
    scenes = plates(6)
    some = scenes.taken(np.array([4, 1]))
    assert np.array_equal(some.frames, scenes.frames[[4, 1]])
    for box, picture in zip(some.boxes.astype(int), some.pictures, strict=True):
        assert some.frames[picture, box[1], box[0], 0] in (20, 240)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"boxes": np.zeros((0, 4), np.float32)}, "no picture with a box"),
        ({"frames": np.zeros((3, 64, 64, 2), np.uint8)}, "have the shape"),
        ({"classes": np.zeros(1, np.int64)}, "equally many"),
        ({"classes": np.full(6, 2)}, "class or a picture"),
        ({"pictures": np.full(6, 3)}, "class or a picture"),
        ({"boxes": np.ones((6, 4), np.float32)}, "no area"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(change: dict[str, object], match: str) -> None:
    scenes = plates(3)
    check(scenes, 2)
    with pytest.raises(InputError, match=match):
        check(msgspec.structs.replace(scenes, **change), 2)
