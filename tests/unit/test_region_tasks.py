"""A region keeps and answers what a detector sends: whole frames, and parts at their place; nonsense costs its sender alone."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from region.cases import StoredCase
from region.experts.onnx import OnnxExpert
from region.watch import judge
from shared.release.card import decode_card
from shared.vision.picture import encode as encode_picture
from shared.vision.tasks.shapes import unpack_boxes
from shared.wire.messages import Boxes, Case, Crop, Prediction
from tests.unit import seeing_models
from tests.unit.region_parts import Device, Hall, a_case, answers, deliver, opened, receipted
from tests.waiting import until

SAID = Prediction(
    index=0, probabilities=(0.9, 0.4), boxes=Boxes(places=bytes(4) + b"\xff" * 4, scores=b"\xff\xff", classes=bytes(2), tracks=bytes(4))
)
RED = np.full((8, 8, 3), (250, 0, 0), np.uint8)


def sent(sequence: int, pixels: np.ndarray, crop: Crop | None = None) -> Case:
    case = a_case(sequence, picture=encode_picture(pixels, codec="png"))
    return msgspec.structs.replace(case, prediction=SAID, crop=crop)


def stored(hall: Hall) -> dict[int, StoredCase]:
    return {case.sequence: case for split in ("train", "unused") for case in hall.vault.cases(split=split)}  # type: ignore[arg-type]


def test_objects_and_parts_are_stored_and_answered(hall: Hall, device: Device, tmp_path: Path) -> None:
    folder = seeing_models.write_detector(tmp_path / "r")
    hall.expert.install(OnnxExpert(folder / "model.onnx", decode_card((folder / "card.json").read_bytes()), threads=1).load())
    opened(hall, device)
    half = Crop(x=0, y=0, width=4, height=8, of_width=8, of_height=8)
    outside = Crop(x=6, y=0, width=4, height=8, of_width=8, of_height=8)
    deliver(hall, *device.case(1, sent(1, RED)), *device.case(2, sent(2, RED[:, :4], half)), *device.case(3, sent(3, RED[:, :4], outside)))
    until(lambda: set(answers(device, hall)) == {1, 2})
    until(lambda: receipted(device, hall) == {1, 2, 3})
    found = {number: unpack_boxes(answer.prediction.boxes or SAID.boxes) for number, answer in answers(device, hall).items()}
    assert found[1].scores.tolist() == pytest.approx([0.98], abs=0.01)
    assert found[2].scores.tolist() == pytest.approx([(250 + 114) / 2 / 255], abs=0.01)  # half of it is the grey around the part
    until(lambda: hall.figures.dropped["picture"] == 1)
    until(lambda: len(stored(hall)) == 2)
    assert stored(hall)[2].case.crop == half
    assert stored(hall)[2].case.prediction == SAID


def test_a_prediction_that_cannot_be_read_agrees_with_nothing() -> None:
    broken = msgspec.structs.replace(SAID, boxes=Boxes(places=b"1", scores=b"12", classes=b"1"))
    case = msgspec.structs.replace(sent(1, RED), prediction=broken)
    assert not judge("edge-1", case, SAID).agrees
    assert judge("edge-1", sent(1, RED), SAID).agrees
    assert not judge("edge-1", a_case(1), SAID).agrees
