"""Frames of any shape in a network's input, and the way back: nothing found there moves by more than a pixel."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.model import LoadedModel
from edge.objects import Objects
from region.experts.onnx import OnnxExpert
from shared.deferral.reading import reader_of
from shared.engines.onnx import OnnxEngine
from shared.errors import TrustError
from shared.release.card import Card, InputSpec, decode_card, encode_card, schema_of
from shared.vision.boxes import Detections
from shared.vision.fit import CROP, FITS, LETTERBOX, STRETCH, map_on_frame, on_frame, on_input, place_of
from shared.vision.frames import Pixels
from shared.vision.preprocess import fitted, resize
from shared.vision.tasks.detection import Detection
from shared.vision.tasks.shapes import unpack_boxes, unpack_map
from tests.unit import seeing_models
from tests.unit.own_detectors import NAMES, SIDE, detector

MODELS = Path(__file__).resolve().parents[2] / "models" / "line"
sizes = st.tuples(st.integers(1, 700), st.integers(1, 700))
inputs = st.builds(InputSpec, width=st.integers(8, 640), height=st.integers(8, 640), fit=st.sampled_from(FITS))


def box(left: float, top: float, right: float, bottom: float) -> Detections:
    return Detections(
        boxes=np.array([[left, top, right, bottom]], np.float32), scores=np.ones(1, np.float32), classes=np.zeros(1, np.int64)
    )


@given(sizes, inputs)
def test_a_frame_that_was_scaled_to_its_place_stays_there(size: tuple[int, int], spec: InputSpec) -> None:
    place = place_of(size, spec)
    assert place_of(place.size, spec) == place, "scaled in the decoder and again in front of the network is scaled once"
    if spec.fit == LETTERBOX:
        assert min(place.left, place.top) >= 0
        assert place.width <= spec.width
        assert place.height <= spec.height
        assert (place.width, place.height).count(spec.width) or place.height == spec.height
    if spec.fit == CROP:
        assert max(place.left, place.top) <= 0
        assert place.width >= spec.width
        assert place.height >= spec.height
    if spec.fit == STRETCH:
        assert place.is_whole


@given(sizes, inputs, st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_a_box_there_and_back_is_where_it_was(size: tuple[int, int], spec: InputSpec, corners: list[float]) -> None:
    place = place_of(size, spec)
    (left, right), (top, bottom) = sorted(corners[:2]), sorted(corners[2:])
    given_ = box(left * spec.width, top * spec.height, (right + 0.1) * spec.width, (bottom + 0.1) * spec.height)
    back = on_frame(on_input(given_, place), place)
    assert np.allclose(back.boxes, given_.boxes, atol=1e-2 * max(1, max(size) / min(size)))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(90, 160), (160, 90), (33, 200), (64, 48), (37, 53)])
def test_a_box_that_is_drawn_is_found_within_a_pixel(fit: str, shape: tuple[int, int]) -> None:
    spec = InputSpec(width=64, height=48, fit=fit, padding=0)
    height, width = shape
    drawn = np.array([0.4, 0.35, 0.6, 0.7]) * (width, height, width, height)
    left, top, right, bottom = np.rint(drawn).astype(int).tolist()
    frame = np.zeros((1, height, width, 3), np.uint8)
    frame[0, top:bottom, left:right] = 255
    seen = fitted(frame, spec)[0, ..., 0] >= 128
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    place = place_of(shape, spec)
    found = (
        on_frame(box(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), place).boxes[0]
        / (64, 48, 64, 48)
        * (width, height, width, height)
    )
    pixel = np.maximum(1.0, [width / place.width, height / place.height] * 2)
    assert (np.abs(found - (left, top, right, bottom)) <= pixel + 1e-3).all()


def test_pixels_keep_their_shape_and_grey_stands_around_them() -> None:
    frame = np.full((1, 20, 40, 3), 200, np.uint8)
    seen = fitted(frame, InputSpec(width=40, height=40, fit="letterbox"))
    assert (seen[0, 10:30] == 200).all()
    assert (seen[0, :10] == 114).all()
    assert (seen[0, 30:] == 114).all()
    assert np.array_equal(fitted(seen, InputSpec(width=40, height=40, fit="letterbox")), seen)
    wide = np.arange(80, dtype=np.uint8)[None, None, :, None].repeat(40, 1).repeat(3, 3)
    cut = fitted(wide, InputSpec(width=40, height=40, fit="crop"))
    assert np.array_equal(cut, wide[:, :, 20:60])
    squeezed = fitted(wide, InputSpec(width=40, height=40))
    assert np.array_equal(squeezed, resize(wide, height=40, width=40)), "the default is what it always was"


@given(sizes, inputs)
def test_a_map_covers_the_frame_whatever_the_fit(size: tuple[int, int], spec: InputSpec) -> None:
    rows, columns = max(1, spec.height // 4), max(1, spec.width // 4)
    place = place_of(size, spec)
    whole = np.zeros((2, rows, columns), np.float32)
    whole[1] = 1.0
    found = map_on_frame(whole, place)
    seen = found.argmax(axis=0)
    if spec.fit == CROP:
        assert seen.any()
    else:
        assert seen.all()
    assert np.allclose(found.sum(axis=0), 1.0), "what was not seen is background"


def read(folder: Path, card: Card, frame: Pixels) -> Detections:
    """What device and region both make of a frame."""
    expert = OnnxExpert(folder / "model.onnx", card, threads=1).load()
    (answer,) = expert.answer([frame])
    expert.close()
    assert answer.boxes is not None
    engine = OnnxEngine(folder / "model.onnx", threads=1)
    model = LoadedModel(engine=engine, card=card)
    reading = reader_of(card)(
        model.engine.run(np.ascontiguousarray(fitted(frame[None], card.input).transpose(0, 3, 1, 2) / np.float32(255))), [frame.shape[:2]]
    )
    engine.close()
    assert reading.candidates is not None
    seen = Objects().see(card, frame=0, unit="u", pixels=frame, candidates=reading.candidates[0])
    assert seen.prediction.boxes is not None
    assert np.array_equal(unpack_boxes(seen.prediction.boxes).boxes, unpack_boxes(answer.boxes).boxes), "one code on device and region"
    return unpack_boxes(answer.boxes)


@pytest.mark.parametrize("shape", [(96, 192), (192, 96), (48, 48)])
def test_boxes_of_a_letterboxed_frame_lie_on_the_frame(tmp_path: Path, shape: tuple[int, int]) -> None:
    folder = seeing_models.write(tmp_path, detector(tmp_path / "d.onnx").read_bytes(), task="detection", labels=NAMES, calibration=None)
    spec = InputSpec(width=SIDE, height=SIDE, fit="letterbox")
    card = msgspec.structs.replace(decode_card((folder / "card.json").read_bytes()), input=spec)
    frame = np.full((*shape, 3), 95, np.uint8)
    place = place_of(shape, spec)
    scale = shape[1] / place.width
    left, top = round((24 - place.left) * scale), round((16 - place.top) * scale)
    side = round(8 * scale)
    frame[top : top + side, left : left + side, 1] += 80
    found = read(folder, card, frame)
    assert found.classes.tolist() == [1]
    assert np.allclose(found.boxes[0] * (shape[1], shape[0], shape[1], shape[0]), [left, top, left + side, top + side], atol=1.0)


def test_a_letterboxed_mask_lies_on_the_frame(tmp_path: Path) -> None:
    folder = seeing_models.write(tmp_path, seeing_models.segmenter(), task="segmentation", labels=("ground", "red"), calibration=None)
    side = seeing_models.SIZE
    card = msgspec.structs.replace(
        decode_card((folder / "card.json").read_bytes()), input=InputSpec(width=side, height=side, fit="letterbox")
    )
    frame = np.zeros((4 * side, 8 * side, 3), np.uint8)
    frame[:, : 4 * side, 0] = 255
    (answer,) = OnnxExpert(folder / "model.onnx", card, threads=1).load().answer([frame])
    assert answer.mask is not None
    assert unpack_map(answer.mask).tolist() == [[1] * (side // 2) + [0] * (side // 2)] * (side // 2)
    assert answer.probabilities[1] == pytest.approx(0.5)


def test_old_cards_are_stretched_and_new_ones_ask_for_new_agents() -> None:
    for path in MODELS.glob("*/*.card.json"):
        card = decode_card(path.read_bytes())
        assert (card.input.fit, card.input.padding, schema_of(card.input, card.second_look)) == (STRETCH, 114, card.schema)
        boxed = msgspec.structs.replace(card, input=msgspec.structs.replace(card.input, fit="letterbox"))
        assert schema_of(boxed.input) == 3
        assert decode_card(encode_card(boxed)) == boxed


@pytest.mark.parametrize(("was", "put"), [(b'"stretch"', b'"mirror"'), (b'"padding": 114', b'"padding": 300')])
def test_a_fit_that_nobody_knows_is_no_card(was: bytes, put: bytes) -> None:
    data = encode_card(decode_card(next(MODELS.glob("student/*.card.json")).read_bytes()))
    assert was in data
    with pytest.raises(TrustError):
        decode_card(data.replace(was, put))


def test_a_task_without_sizes_reads_the_input_as_the_frame() -> None:
    spec = InputSpec(width=8, height=8, fit="letterbox")
    outputs = np.zeros((1, 6, 2), np.float32)
    outputs[0, :4] = [[2, 6], [4, 4], [4, 4], [4, 4]]
    outputs[0, 4, 0] = 1.0
    card = Detection(labels=2, input=spec, spec=seeing_models.DetectionSpec(score_threshold=0.5))
    assert card.candidates(outputs)[0].boxes.tolist() == [[0, 2, 4, 6]]
    assert card.candidates(outputs, [(4, 8)])[0].boxes.tolist() == [[0, 0, 4, 8]]
