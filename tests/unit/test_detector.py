"""Detector: learns boxes in a few steps, ends the same however often it was killed, and leaves as ONNX what torch computes."""

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from cloud.foundry.export import INPUT, to_onnx
from shared.errors import InputError, StorageError
from shared.learning import arrays, course, detectionloss, detector
from shared.learning.architectures import parameter_count
from shared.learning.loop import Recipe, tensor
from shared.learning.scenes import Scenes, assigned, crops
from tests.plates import plates

TINY = detector.Widths((16, 16, 32, 32, 32), 0, 0, 32)


class KilledError(Exception):
    """Ends a training in the middle."""


def small() -> detector.Detector:
    torch.manual_seed(3)
    return detector.Detector(2, TINY)


def rgb(scenes: Scenes) -> np.ndarray:
    return np.repeat(scenes.frames, 3, axis=3)


def schooled(model: detector.Detector, state: Path, *, steps: int, killed_at: int = -1) -> None:
    scenes = plates(24)

    def loss_of(step: int) -> torch.Tensor:
        if step == killed_at:
            raise KilledError
        batch = crops(scenes, side=64, count=8, turning=True, random=np.random.default_rng([1, step]))
        return detectionloss.loss(model.maps(tensor(rgb(batch))), assigned(batch, stride=8))

    course.run(model, loss_of, Recipe(steps=steps, rate=1e-2), state=state, every_s=0.0 if killed_at >= 0 else 60.0)


def test_the_families_are_made_for_int8_and_of_the_promised_size() -> None:
    student = detector.build("student", 6, seed=0)
    inner = [one for one in student.modules() if isinstance(one, torch.nn.Conv2d) and one.bias is None]
    assert all(one.out_channels % 16 == 0 and one.groups == 1 for one in inner)
    assert 1_000_000 < parameter_count(student) < 3_000_000 < parameter_count(detector.build("expert", 6, seed=0))
    assert torch.equal(student.logits.weight, detector.build("student", 6, seed=0).logits.weight)
    with pytest.raises(InputError, match="no detector family"):
        detector.build("oracle", 6, seed=0)


def test_it_learns_where_blocks_are_and_what_they_are(tmp_path: Path) -> None:
    model = small()
    schooled(model, tmp_path / "state", steps=80)
    fresh = plates(16, seed=9)
    with torch.inference_mode():
        rows = model(tensor(rgb(fresh))).numpy()
    right = 0
    for box, kind, picture in zip(fresh.boxes, fresh.classes, fresh.pictures, strict=True):
        centres, scores = rows[picture, :2].T, rows[picture, 4:]
        near = np.abs(centres - (box[:2] + box[2:]) / 2).max(axis=1) < 6
        right += bool(near.any()) and int(scores[:, near].max(axis=1).argmax()) == kind and float(scores[:, near].max()) > 0.2
    assert right >= 0.8 * len(fresh.boxes)


def test_a_training_that_is_broken_off_ends_where_one_in_one_piece_does(tmp_path: Path) -> None:
    whole, pieces = small(), small()
    schooled(whole, tmp_path / "whole", steps=6)
    for killed_at in (2, 2, 5):
        with pytest.raises(KilledError):
            schooled(pieces, tmp_path / "pieces", steps=6, killed_at=killed_at)
        pieces = small()
    (tmp_path / "pieces.tmp").write_bytes(b"torn")
    schooled(pieces, tmp_path / "pieces", steps=6)
    first, second = arrays.to_arrays(whole), arrays.to_arrays(pieces)
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_damaged_state_is_begun_anew_with_nothing_of_it_loaded(tmp_path: Path, place: int) -> None:
    state, whole, again = tmp_path / "state", small(), small()
    schooled(whole, state, steps=3)
    data = bytearray(state.read_bytes())
    data[place] ^= 1
    state.write_bytes(data)
    schooled(again, state, steps=3)
    first, second = arrays.to_arrays(whole), arrays.to_arrays(again)
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_the_state_of_another_network_is_refused_and_left_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    schooled(small(), state, steps=2)
    before = state.read_bytes()
    with pytest.raises(StorageError, match="another training"):
        course.run(torch.nn.Linear(2, 2), lambda step: torch.zeros(()), Recipe(steps=3, rate=1e-2), state=state)
    assert state.read_bytes() == before


def test_the_exported_graph_says_what_the_network_says(tmp_path: Path) -> None:
    model = small().eval()
    pictures = tensor(rgb(plates(3)))
    with torch.inference_mode():
        wanted = model(pictures).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (tmp_path / "model.onnx").write_bytes(to_onnx(model, side=64))
    found = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, {INPUT: pictures.contiguous().numpy()})[0]
    assert found.shape == (3, 6, 64)
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_a_perfect_answer_costs_nothing_and_a_silent_cell_teaches_nothing() -> None:
    box = torch.tensor([[4.0, 4.0, 28.0, 20.0]])
    overlap, general = detectionloss.overlaps(box, box)
    assert float(overlap) == pytest.approx(1, abs=1e-5)
    assert float(general) == pytest.approx(1, abs=1e-5)
    apart = detectionloss.overlaps(box, box + 100)
    assert float(apart[0]) == 0
    assert -1 < float(apart[1]) < 0
    cells = torch.tensor([0, 9])
    boxes = detectionloss.corners(torch.ones(2, 4), cells, 4)
    assert boxes.tolist() == [[-4, -4, 12, 12], [4, 12, 20, 28]]
    scenes = Scenes(
        frames=np.zeros((1, 32, 32, 1), np.uint8),
        boxes=np.array([[0, 0, 32, 32]], np.float32),
        classes=np.array([-1]),
        pictures=np.array([0]),
    )
    maps = detector.Maps(torch.ones(1, 4, 4, 4), torch.full((1, 2, 4, 4), 3.0, requires_grad=True))
    assert detectionloss.loss(maps, assigned(scenes, stride=8)).item() == 0
