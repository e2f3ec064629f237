"""Whatever a region answers or a device sends about a frame is read within bounds or refused: any columns, maps, parts and classes."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.events import Inferred, answered_event, encode, whole_answer
from edge.objects import Objects
from edge.tracks import MOST, Tracks
from shared.deferral.policy import Action, Decision
from shared.errors import InputError, ProtocolError
from shared.vision.boxes import Detections, nothing
from shared.vision.crops import Part, on_part, paste
from shared.vision.tasks.shapes import unpack_boxes, unpack_map
from shared.vision.tasks.task import agrees, task_of
from shared.wire import messages
from shared.wire.messages import Boxes, Crop, Mask, Prediction
from tests.examples import examples
from tests.unit.edge_parts import colour, frame
from tests.unit.test_tasks import DETECTOR, head

SIZES = st.integers(-(2**63), 2**64 - 1) | st.integers(0, 300)
COLUMNS = st.integers(0, 6).flatmap(
    lambda many: st.builds(
        Boxes,
        places=st.binary(min_size=8 * many, max_size=8 * many),
        scores=st.binary(min_size=2 * many, max_size=2 * many),
        classes=st.binary(min_size=2 * many, max_size=2 * many),
        tracks=st.binary(min_size=4 * many, max_size=4 * many) | st.just(b""),
    )
)
ANY_COLUMNS = st.builds(
    Boxes, places=st.binary(max_size=40), scores=st.binary(max_size=8), classes=st.binary(max_size=8), tracks=st.binary()
)
MASKS = st.builds(Mask, width=SIZES, height=SIZES, runs=st.binary(max_size=64))
PREDICTIONS = st.builds(
    Prediction,
    index=st.integers(-(2**63), 2**64 - 1),
    probabilities=st.lists(st.floats(width=32), max_size=4).map(tuple),
    boxes=st.none() | COLUMNS | ANY_COLUMNS,
    mask=st.none() | MASKS,
)
PARTS: st.SearchStrategy[Part | None] = st.none() | st.just((0.2, 0.2, 0.7, 0.9))
OWN = task_of(DETECTOR).decode(head((50, 25, 20, 10, 0.99, 0.0)))[0]


def deferred(part: Part | None) -> Inferred:
    return Inferred(
        frame=frame(1, colour(1, 2)),
        prediction=OWN,
        decision=Decision(action=Action.DEFER, reason="below_threshold", score=-1.0, threshold=0.0, awaits_answer=True),
        release=1,
        labels=DETECTOR.labels,
        deadline_s=5.0,
        part=part,
    )


@settings(max_examples=examples(300))
@given(PREDICTIONS, PARTS)
def test_any_answer_becomes_an_event_or_is_refused(said: Prediction, part: Part | None) -> None:
    arrived = messages.decode(Prediction, messages.encode(said))
    try:
        event = answered_event(deferred(part), whole_answer(deferred(part), arrived), expert_release=1, now=0.0)
    except ProtocolError:
        return
    told = msgspec.json.decode(encode(event))
    assert told["label"] in {"", *DETECTOR.labels}
    assert (told["label"] == "") or DETECTOR.labels[arrived.index if part is None else told["index"]] == told["label"]
    assert arrived.index >= 0


@settings(max_examples=examples(200))
@given(PREDICTIONS)
def test_any_two_predictions_can_be_compared(said: Prediction) -> None:
    assert agrees(said, OWN) in {True, False}
    assert agrees(OWN, said) in {True, False}


@settings(max_examples=examples(100))
@given(st.lists(COLUMNS, max_size=6), PARTS)
def test_objects_are_followed_whatever_was_answered(answers: list[Boxes], part: Part | None) -> None:
    objects, seen = (
        Objects(),
        Detections(boxes=np.array([[1, 1, 4, 4]], np.float32), scores=np.array([0.3], np.float32), classes=np.array([0])),
    )
    for number, boxes in enumerate(answers):
        objects.see(DETECTOR, frame=number, unit="u", pixels=colour(1, 2), candidates=seen)
        objects.answered(number, unpack_boxes(boxes), part)
    told = objects.see(DETECTOR, frame=len(answers), unit="u", pixels=colour(1, 2), candidates=seen)
    assert told.prediction.boxes is not None
    assert (unpack_boxes(told.prediction.boxes).classes < len(DETECTOR.labels)).all()


def test_answers_begin_a_bounded_number_of_tracks() -> None:
    rng = np.random.default_rng(0)
    corners = rng.random((4096, 2), np.float32)
    many = Detections(
        boxes=np.concatenate([corners, corners + 0.01], axis=1), scores=np.ones(4096, np.float32), classes=np.zeros(4096, int)
    )
    tracks = Tracks()
    tracks.follow(0, nothing(), many.boxes)
    for _ in range(3):
        tracks.answer(0, many)
        tracks.answer(0, nothing())
    assert len(tracks) == MOST


@settings(max_examples=examples(300))
@given(MASKS)
def test_a_map_is_as_large_as_it_says_or_refused(mask: Mask) -> None:
    try:
        found = unpack_map(mask)
    except ProtocolError:
        return
    assert found.shape == (mask.height, mask.width)


@settings(max_examples=examples(300))
@given(st.builds(Crop, x=SIZES, y=SIZES, width=SIZES, height=SIZES, of_width=SIZES, of_height=SIZES), COLUMNS)
def test_a_part_lies_in_its_frame_or_is_refused(crop: Crop, boxes: Boxes) -> None:
    assert len(on_part(unpack_boxes(boxes), crop)) <= len(boxes.scores) // 2
    try:
        whole = paste(np.zeros((20, 30, 3), np.uint8), crop, max_pixels=10_000)
    except InputError:
        return
    assert whole.shape == (crop.of_height, crop.of_width, 3)
