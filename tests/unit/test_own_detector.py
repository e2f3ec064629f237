"""A user's own detector: boxes beside pictures, INT8 that keeps its boxes, a score from which boxes are told, a threshold for deferral."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from cloud.ownmodel import boxfiles, modelfile, release
from cloud.ownmodel.cli import app
from edge.model import open_model
from edge.selftest import compare as compared
from shared.deferral.reading import reader_of
from shared.engines.onnx import OnnxEngine
from shared.errors import EngineError, InputError, TerraceError
from shared.vision.preprocess import prepare
from shared.vision.tasks.shapes import unpack_boxes
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


def test_frames_of_another_shape_are_letterboxed_as_the_exporters_expect(world: Path, tmp_path: Path) -> None:
    boards(tmp_path / "wide", 160, 8, rows=4)
    more = ("--precision", "fp32", "--expert", str(world / "big.onnx"))
    boxed = imported(world, tmp_path / "a", *more, folder=str(tmp_path / "wide"))
    squeezed = imported(world, tmp_path / "b", *more, "--fit", "stretch", folder=str(tmp_path / "wide"))
    assert (boxed["card"]["input"]["fit"], boxed["card"]["schema"], boxed["expert"]["schema"]) == ("letterbox", 3, 3)
    assert (squeezed["card"]["input"]["fit"], squeezed["card"]["schema"], squeezed["expert"]["input"]["fit"]) == ("stretch", 1, "letterbox")
    good, bad = (one["card"]["lineage"]["figures"]["student_map_50_95"] for one in (boxed, squeezed))
    assert good > 0.5 > bad, "squeezed cells lie elsewhere than the network looks for them"
    seen = [one["card"]["lineage"]["figures"]["expert_map_50_95"] for one in (boxed, squeezed)]
    assert seen[0] == pytest.approx(seen[1]), "the expert's own fit, whatever the student's"
    assert release.self_tested(release.read(tmp_path / "a")).startswith("self-test")
    frame = np.full((1, 64, 96, 3), 95, np.uint8)  # twice the size of the boards
    frame[0, 16:32, 48:64, 1] += 60
    model = open_model(tmp_path / "a" / "model.onnx", tmp_path / "a" / "card.json", OnnxEngine)
    reading = reader_of(model.card)(model.engine.run(prepare(frame, model.card.input)), [(64, 96)])
    assert reading.predictions[0].boxes is not None
    (found,) = unpack_boxes(reading.predictions[0].boxes, width=96, height=64).boxes
    assert np.allclose(found, [48, 16, 64, 32], atol=0.01)


def test_class_names_come_from_the_file_where_its_exporter_left_them(world: Path, tmp_path: Path) -> None:
    model = onnx.load(str(world / "small.onnx"))
    onnx.helper.set_model_props(model, {"names": "{0: 'red', 1: 'green', 2: 'blue'}", "stride": "8"})
    onnx.save(model, str(tmp_path / "named.onnx"))
    words = ["import", str(tmp_path / "named.onnx"), "--task", "detection", "--calibrate", str(world / "boards"), "--precision", "fp32"]
    done = CliRunner(env={"TERRACE_CACHE": str(world / "cache")}).invoke(app, [*words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, (done.output, done.exception)
    assert release.read(tmp_path / "out").card.labels == NAMES
    assert modelfile.names(world / "small.onnx") == ()


@pytest.mark.parametrize("names", ["{0: 'a', 2: 'b'}", "{0: 'a', 1: 'a'}", "['a', 'b']", "{", "__import__('os')"])
def test_names_that_cannot_be_are_none(names: str, world: Path, tmp_path: Path) -> None:
    model = onnx.load(str(world / "small.onnx"))
    onnx.helper.set_model_props(model, {"names": names})
    onnx.save(model, str(tmp_path / "named.onnx"))
    assert modelfile.names(tmp_path / "named.onnx") == ()


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
    with pytest.raises(EngineError, match="7 numbers for each box: 3 classes"):
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


def test_two_detectors_are_compared_by_mean_average_precision(world: Path, tmp_path: Path) -> None:
    detector(tmp_path / "blind.onnx", bias=-9.0, sharp=50.0)
    imported(world, tmp_path / "good", "--precision", "fp32", model="big.onnx")
    imported(world, tmp_path / "bad", "--precision", "fp32", model=str(tmp_path / "blind.onnx"))
    boards(tmp_path / "fresh", 80, 31)
    words = ["compare", str(tmp_path / "good"), str(tmp_path / "bad"), "--pictures", str(tmp_path / "fresh")]
    found = json.loads(CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False).stdout)
    assert found["figure"] == "map_50"
    assert 0 < found["low"] <= found["difference"] <= found["high"]
    assert found["first"]["value"] > found["second"]["value"]
    boards(tmp_path / "plain", 10, 32, labelled=False)
    with pytest.raises(InputError, match="not said what the pictures show"):
        CliRunner().invoke(app, [*words[:-1], str(tmp_path / "plain")], catch_exceptions=False)
