"""A user's own detector: boxes beside pictures, INT8 that keeps its boxes, a score from which boxes are told, a threshold for deferral."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cloud.ownmodel import boxfiles, release
from cloud.ownmodel.cli import app
from edge.model import open_model
from edge.selftest import compare as compared
from shared.deferral.reading import reader_of
from shared.engines.onnx import OnnxEngine
from shared.errors import EngineError, InputError, TerraceError
from shared.vision.preprocess import prepare
from shared.vision.tasks.task import task_of
from tests.unit.own_detectors import NAMES, SIDE, boards, detector


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own-detector")
    detector(folder / "small.onnx", bias=-5.0, sharp=50.0)
    detector(folder / "big.onnx", bias=-3.0, sharp=80.0, last=True)
    boards(folder / "boards", 200, 3)
    boards(folder / "plain", 100, 4, labelled=False)
    (folder / "labels.txt").write_text("\n".join(NAMES) + "\n")
    return folder


def imported(world: Path, out: Path, *more: str, model: str = "small.onnx", folder: str = "boards") -> dict[str, Any]:
    words = ["import", str(world / model), "--task", "detection", "--labels", str(world / "labels.txt"), "--calibrate", str(world / folder)]
    done = CliRunner(env={"TERRACE_CACHE": str(world / "cache")}).invoke(app, [*words, "--out", str(out), *more, "--json"])
    if isinstance(done.exception, TerraceError):
        raise done.exception
    assert done.exit_code == 0, (done.output, done.exception)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_detector_becomes_a_release_that_a_device_runs(world: Path, tmp_path: Path) -> None:
    found = imported(world, tmp_path, "--expert", str(world / "big.onnx"), "--precision", "int8")
    model = open_model(tmp_path / "model.onnx", tmp_path / "card.json", OnnxEngine)
    card = model.card
    assert found["precision"] == "int8"
    assert card.task == "detection"
    assert card.detection is not None
    figures = card.lineage.figures
    assert figures["expert_map_50"] >= figures["student_map_50"] > 0.5
    assert abs(figures["student_map_50"] - figures["student_fp32_map_50"]) < 0.02, "the tail stays in floating point"
    assert card.calibration is not None
    assert card.calibration.units > 50
    said = model.engine.run(prepare(card.self_test.frames(), card.input))
    assert compared(card.self_test, task_of(card).outline(said)) == ""
    assert release.self_tested(release.read(tmp_path)).startswith("self-test: 2 pictures")
    frame = np.full((1, SIDE, SIDE, 3), 95, np.uint8)
    frame[0, 8:16, 24:32, 1] += 60
    reading = reader_of(card)(model.engine.run(prepare(frame, card.input)))
    assert reading.predictions[0].index == 1, "one green thing"
    assert reading.candidates is not None
    assert np.allclose(reading.candidates[0].boxes[0], [24, 8, 32, 16], atol=0.01)


def test_without_boxes_the_expert_says_what_is_there(world: Path, tmp_path: Path) -> None:
    found = imported(world, tmp_path / "a", "--expert", str(world / "big.onnx"), "--precision", "fp32", folder="plain")
    assert found["card"]["calibration"]["units"] > 30
    assert "expert_map_50" not in found["card"]["lineage"]["figures"], "it cannot be wrong against itself"
    alone = imported(world, tmp_path / "b", "--precision", "fp32", folder="plain")
    assert alone["card"]["calibration"] is None
    assert "audit samples only" in alone["warnings"][0]


@pytest.mark.parametrize(("wrong", "words"), [({"pixels": False}, "shares of the picture"), ({"sigmoid": False}, "no probabilities")])
def test_boxes_and_scores_in_other_units_are_refused(world: Path, tmp_path: Path, wrong: dict[str, bool], words: str) -> None:
    detector(tmp_path / "wrong.onnx", **wrong)
    with pytest.raises(EngineError, match=words):
        imported(world, tmp_path / "out", model=str(tmp_path / "wrong.onnx"))


def test_labels_that_do_not_fit_the_head_are_refused(world: Path, tmp_path: Path) -> None:
    (tmp_path / "five.txt").write_text("a\nb\nc\nd\ne\n")
    with pytest.raises(EngineError, match="no detection head for 5 labels"):
        imported(world, tmp_path / "out", "--labels", str(tmp_path / "five.txt"))


@pytest.mark.parametrize("line", ["3 0.5 0.5 0.1 0.1", "0 0.5 0.5 0.1", "x 0 0 0 0", "0 40 40 10 10", "0.5 0.1 0.1 0.1 0.1", "0 nan 0 0 0"])
def test_a_line_that_is_no_box_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(line)
    with pytest.raises(InputError):
        boxfiles.truths([tmp_path / "a.png"], classes=3, width=10, height=10)


def test_a_picture_without_a_file_has_nothing_on_it_unless_none_has_one(tmp_path: Path) -> None:
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    assert boxfiles.truths(files, classes=1, width=100, height=50) is None
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.2 0.4\n\n")
    found = boxfiles.truths(files, classes=1, width=100, height=50)
    assert found is not None
    assert np.allclose(found[0].boxes, [[40, 15, 60, 35]])
    assert len(found[1].boxes) == 0
