"""A detector or a segmenter on a device: events with objects, hard frames sent, and models that do not fit their card kept out."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge.fitness import unfit
from edge.model import open_model
from region.experts.onnx import OnnxExpert
from region.watch import judge
from shared.engines.onnx import OnnxEngine
from shared.errors import EngineError
from shared.release.card import decode_card
from shared.vision import picture
from shared.vision.boxes import Detections, nothing
from shared.vision.tasks.shapes import pack_boxes, unpack_boxes
from shared.vision.tasks.task import agrees
from shared.wire.messages import Answer, Boxes, Crop, Prediction
from tests.unit import seeing_models
from tests.unit.edge_parts import SIZE, colour, frame, load
from tests.unit.pipeline_parts import Device
from tests.waiting import until

SPOT, DOUBT = colour(250, 0), colour(250, 110)  # a sure spot; the same and a crack that is nearly told


def an_answer(sequence: int) -> Answer:
    """Return the expert's word: the crack was there."""
    boxes = np.array([[0, 2, 4, 6], [4, 2, 8, 6]], np.float32)
    told = Detections(boxes=boxes, scores=np.array([0.9, 0.8], np.float32), classes=np.array([0, 1]))
    packed = pack_boxes(told, width=SIZE, height=SIZE)
    return Answer(
        spool_id=b"", sequence=sequence, at=0.0, expert_release=3, prediction=Prediction(index=0, probabilities=(0.9, 0.8), boxes=packed)
    )


def test_sure_objects_are_told_at_once(tmp_path: Path) -> None:
    with Device(tmp_path) as device:
        device.models.swap(load(seeing_models.write_detector(tmp_path / "r")))
        device.newest.put(frame(0, SPOT))
        until(lambda: device.output.written == 1)
    (event,) = device.events()
    assert (event["state"], event["action"], event["label"]) == ("final", "keep", "spot")
    assert event["objects"] == [{"label": "spot", "confidence": 0.9804, "box": [0.0, 0.25, 0.5, 0.75], "track": 0}]
    assert "areas" not in event


def test_a_frame_where_something_may_have_been_missed_is_sent_and_the_answer_has_it(tmp_path: Path) -> None:
    with Device(tmp_path) as device:
        device.models.swap(load(seeing_models.write_detector(tmp_path / "r")))
        device.newest.put(frame(5, DOUBT))
        until(lambda: device.cases and device.writer.spooled == 1)
        device.settler.answer(an_answer(1))
        until(lambda: device.output.written == 2)
    first, last = device.events()
    assert (first["state"], first["action"], [one["label"] for one in first["objects"]]) == ("provisional", "defer", ["spot"])
    assert (last["source"], [one["label"] for one in last["objects"]]) == ("region", ["spot", "crack"])
    (case,) = device.cases
    assert case.prediction.boxes is not None
    assert (case.crop, case.picture.width) == (Crop(x=3, y=1, width=5, height=6, of_width=8, of_height=8), 5)
    assert unpack_boxes(case.prediction.boxes).classes.tolist() == [0]
    assert not judge("edge-1", msgspec.structs.replace(case, is_audit=True), an_answer(1).prediction).agrees


def test_the_part_that_is_sent_is_cut_from_the_picture_in_its_own_size(tmp_path: Path) -> None:
    large = DOUBT.repeat(4, axis=0).repeat(4, axis=1)
    with Device(tmp_path) as device:
        device.models.swap(load(seeing_models.write_detector(tmp_path / "r")))
        device.newest.put(msgspec.structs.replace(frame(5, DOUBT), whole=lambda: large))
        until(lambda: device.cases)
    (case,) = device.cases
    assert case.crop == Crop(x=12, y=4, width=20, height=24, of_width=32, of_height=32)
    assert np.array_equal(picture.decode(case.picture).shape, (24, 20, 3))


def test_an_audit_sample_is_whole(tmp_path: Path) -> None:
    with Device(tmp_path, audit_share=1.0) as device:
        device.models.swap(load(seeing_models.write_detector(tmp_path / "r")))
        device.newest.put(frame(5, DOUBT))
        until(lambda: device.cases)
    (case,) = device.cases
    assert (case.is_audit, case.crop, case.picture.width) == (True, None, SIZE)


def test_the_answer_to_a_part_leaves_the_rest_as_the_device_saw_it(tmp_path: Path) -> None:
    with Device(tmp_path) as device:
        device.models.swap(load(seeing_models.write_detector(tmp_path / "r")))
        device.newest.put(frame(5, DOUBT))
        until(lambda: device.cases and device.writer.spooled == 1)
        nothing_there = msgspec.structs.replace(an_answer(1).prediction, boxes=pack_boxes(nothing(), width=SIZE, height=SIZE))
        device.settler.answer(msgspec.structs.replace(an_answer(1), prediction=nothing_there))
        until(lambda: device.output.written == 2)
        device.newest.put(msgspec.structs.replace(frame(6, DOUBT), unit="u5"))  # the same scene: the crack is refuted by now
        until(lambda: device.output.written == 3)
        until(lambda: len(device.cases) == 1)
    _, last, after = device.events()
    assert (last["source"], [one["label"] for one in last["objects"]]) == ("region", ["spot"])
    assert (after["action"], [(one["label"], one["track"]) for one in after["objects"]]) == ("keep", [("spot", 0)])


def test_an_object_of_a_class_the_device_has_never_heard_of_is_told_as_what_the_device_takes_it_for(tmp_path: Path) -> None:
    foreign = Detections(
        boxes=np.array([[0, 2, 4, 6], [4, 2, 8, 6]], np.float32), scores=np.ones(2, np.float32), classes=np.array([7, 65535])
    )
    said = Prediction(index=7, probabilities=(0.9,), boxes=pack_boxes(foreign, width=SIZE, height=SIZE))
    with Device(tmp_path) as device:
        device.models.swap(load(seeing_models.write_detector(tmp_path / "r")))
        device.newest.put(frame(5, DOUBT))
        until(lambda: device.cases and device.writer.spooled == 1)
        device.settler.answer(msgspec.structs.replace(an_answer(1), prediction=said))
        until(lambda: device.output.written == 2)
        for number in (6, 7):
            device.newest.put(msgspec.structs.replace(frame(number, DOUBT), unit="u5"))
            until(lambda n=number: device.output.written == n - 3, lambda: device.inference.reason)
    _, last, *after = device.events()
    assert (last["source"], [one["label"] for one in last["objects"]]) == ("region", ["", "spot"])
    assert [[one["label"] for one in event["objects"]] for event in after] == [["spot", "crack"]] * 2
    assert device.counts()[3] == 0


def test_an_answer_that_makes_no_sense_is_counted_and_the_device_s_own_stands(tmp_path: Path) -> None:
    absurd = Prediction(index=-1, probabilities=())
    torn = msgspec.structs.replace(an_answer(1).prediction, boxes=Boxes(places=b"123", scores=b"12", classes=b""))
    with Device(tmp_path) as device:
        device.models.swap(load(seeing_models.write_detector(tmp_path / "r")))
        for number, said in enumerate((absurd, torn)):
            device.newest.put(frame(number, DOUBT))
            until(lambda n=number: device.writer.spooled == n + 1)
            device.settler.answer(msgspec.structs.replace(an_answer(number + 1), prediction=said))
            until(lambda n=number: device.output.written == 2 * n + 2)
        assert device.settler.unreadable == 2
    assert [(event["source"], event["label"]) for event in device.events() if event["state"] == "final"] == [("expired", "spot")] * 2


def test_an_empty_frame_is_not_sure_by_itself(tmp_path: Path) -> None:
    with Device(tmp_path) as device:
        device.models.swap(load(seeing_models.write_detector(tmp_path / "r")))
        device.newest.put(frame(0, colour(0, 0)))
        until(lambda: device.output.written == 1)
    (event,) = device.events()
    assert (event["index"], event["label"], event["objects"]) == (2, "", [])
    assert event["score"] == pytest.approx(np.log(1 - 0.25))


def test_a_segmenter_tells_areas(tmp_path: Path) -> None:
    half = colour(0, 0)
    half[:, :4, 0] = 255
    with Device(tmp_path) as device:
        device.models.swap(load(seeing_models.write_segmenter(tmp_path / "r")))
        device.newest.put(frame(0, half))
        until(lambda: device.output.written == 1)
    (event,) = device.events()
    assert (event["action"], event["label"], event["areas"]) == ("keep", "scratch", {"none": 0.5, "scratch": 0.5})
    assert "objects" not in event


def test_a_model_whose_outputs_do_not_match_its_card_is_refused(tmp_path: Path) -> None:
    for name, data, task, labels, word in (
        ("a", seeing_models.detector(), "classification", ("spot", "crack"), "one logit for each"),
        ("b", seeing_models.detector(), "detection", ("spot", "crack", "dent", "burr"), "no detection head"),
        ("c", seeing_models.segmenter(), "segmentation", ("none", "scratch", "dent"), "no maps of 3"),
        ("d", seeing_models.detector(), "depth", ("spot", "crack"), "no task 'depth'"),
    ):
        folder = seeing_models.write(tmp_path / name, data, task=task, labels=labels)
        with pytest.raises(EngineError, match=word):
            open_model(folder / "model.onnx", folder / "card.json", OnnxEngine)


@pytest.mark.parametrize("write", [seeing_models.write_detector, seeing_models.write_segmenter])
def test_the_self_test_compares_one_figure_per_class(tmp_path: Path, write: object) -> None:
    model = load(write(tmp_path / "r"))  # type: ignore[operator]
    said = unfit(model, family="student", release=3, taken_ms=1.0, before_ms=None)
    assert ("differ" in said) == (model.card.task == "segmentation")  # whose figures on black are 1 and 0, not the card's zeros


def test_an_expert_answers_with_objects(tmp_path: Path) -> None:
    folder = seeing_models.write_detector(tmp_path / "r")
    expert = OnnxExpert(folder / "model.onnx", decode_card((folder / "card.json").read_bytes()), threads=1).load()
    sure, doubt = expert.answer([SPOT, colour(200, 200)])
    assert agrees(sure, expert.answer([SPOT])[0])
    assert not agrees(sure, doubt)
    expert.close()
