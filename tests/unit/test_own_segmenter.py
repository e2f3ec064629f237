"""A user's own segmenter: masks beside pictures, INT8 that keeps its maps, a threshold on how sure a map looks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cloud.ownmodel import maskfiles, release
from cloud.ownmodel.cli import app
from edge.model import open_model
from edge.selftest import compare as compared
from region.experts.onnx import OnnxExpert, read_card
from shared.deferral.reading import SOFT_DICE, reader_of
from shared.engines.onnx import OnnxEngine
from shared.errors import EngineError, InputError, TerraceError
from shared.vision.preprocess import prepare
from shared.vision.tasks.shapes import unpack_map
from shared.vision.tasks.task import task_of
from tests.unit.own_segmenters import NAMES, SIDE, plates, segmenter


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own-segmenter")
    segmenter(folder / "small.onnx", bias=6.5, sharp=75.0, end="Softmax")
    segmenter(folder / "big.onnx", bias=8.5, sharp=120.0)
    plates(folder / "plates", 200, 3)
    plates(folder / "plain", 100, 4, painted=False)
    (folder / "labels.txt").write_text("\n".join(NAMES) + "\n")
    return folder


def typed(world: Path, *words: str) -> str:
    done = CliRunner(env={"TERRACE_CACHE": str(world / "cache")}).invoke(app, list(words))
    if isinstance(done.exception, TerraceError):
        raise done.exception
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def imported(world: Path, out: Path, *more: str, model: str = "small.onnx", folder: str = "plates") -> dict[str, Any]:
    words = ["import", str(world / model), "--task", "segmentation", "--labels", str(world / "labels.txt")]
    found: dict[str, Any] = json.loads(typed(world, *words, "--calibrate", str(world / folder), "--out", str(out), *more, "--json"))
    return found


def test_a_segmenter_becomes_a_release_that_devices_and_regions_run(world: Path, tmp_path: Path) -> None:
    found = imported(world, tmp_path, "--expert", str(world / "big.onnx"), "--precision", "int8", "--normalise", "unit")
    assert (found["precision"], found["tried"]) == ("int8", {})
    assert "took the last Softmax off" in found["changes"]
    model = open_model(tmp_path / "model.onnx", tmp_path / "card.json", OnnxEngine)
    card = model.card
    figures = card.lineage.figures
    assert min(figures["expert_mean_iou"], figures["student_mean_iou"]) > 0.5
    assert abs(figures["int8_mean_iou_drop"]) < 0.02
    assert card.calibration is not None
    assert (card.calibration.score, card.calibration.units > 50) == (SOFT_DICE, True)
    said = model.engine.run(prepare(card.self_test.frames(), card.input))
    assert compared(card.self_test, task_of(card).outline(said)) == ""
    assert release.self_tested(release.read(tmp_path)).startswith("self-test: 2 pictures")
    frame = np.full((1, 2 * SIDE, 2 * SIDE, 3), 95, np.uint8)
    frame[0, :, :SIDE, 1] += 100
    (seen,) = reader_of(card)(model.engine.run(prepare(frame, card.input)), [(2 * SIDE, 2 * SIDE)]).predictions
    assert (seen.index, seen.mask is not None) == (2, True)
    expert = tmp_path / "expert" / "model.onnx"
    (answer,) = OnnxExpert(expert, read_card(expert), threads=1).load().answer([frame[0]])
    assert answer.mask is not None
    assert abs(answer.probabilities[2] - 0.5) < 0.05


def test_wide_pictures_can_be_letterboxed(world: Path, tmp_path: Path) -> None:
    plates(tmp_path / "wide", 160, 7, size=(SIDE // 2, SIDE))
    found = imported(world, tmp_path / "a", "--fit", "letterbox", "--precision", "fp32", folder=str(tmp_path / "wide"))
    assert (found["card"]["input"]["fit"], found["card"]["schema"]) == ("letterbox", 3)
    assert found["card"]["lineage"]["figures"]["student_mean_iou"] > 0.5
    assert found["tried"][found["normalisation"]] == max(found["tried"].values()) > min(found["tried"].values())
    model = open_model(tmp_path / "a" / "model.onnx", tmp_path / "a" / "card.json", OnnxEngine)
    frame = np.full((1, SIDE // 2, SIDE, 3), 95, np.uint8)
    frame[0, :, : SIDE // 2, 0] += 100
    (seen,) = reader_of(model.card)(model.engine.run(prepare(frame, model.card.input)), [(SIDE // 2, SIDE)]).predictions
    assert seen.mask is not None
    assert unpack_map(seen.mask).shape == (SIDE // 2, SIDE), "the frame without its padding"


def test_without_masks_the_expert_says_what_is_there(world: Path, tmp_path: Path) -> None:
    more = ("--precision", "fp32", "--normalise", "unit")
    found = imported(world, tmp_path / "a", "--expert", str(world / "big.onnx"), *more, folder="plain")
    assert found["card"]["calibration"]["units"] > 30
    assert "expert_mean_iou" not in found["card"]["lineage"]["figures"], "it cannot be wrong against itself"
    alone = imported(world, tmp_path / "b", *more, folder="plain")
    assert alone["card"]["calibration"] is None
    assert "audit samples only" in alone["warnings"][0]
    with pytest.raises(InputError, match="cannot be found without masks"):
        imported(world, tmp_path / "c", folder="plain")


def test_a_network_that_outlines_nothing_gets_no_threshold_and_is_told(world: Path, tmp_path: Path) -> None:
    segmenter(tmp_path / "blind.onnx", bias=1e4)
    found = imported(world, tmp_path / "out", "--precision", "fp32", model=str(tmp_path / "blind.onnx"))
    assert found["card"]["calibration"] is None
    assert "the best threshold would keep" in found["warnings"][0]


def test_labels_that_do_not_fit_the_maps_are_refused(world: Path, tmp_path: Path) -> None:
    (tmp_path / "four.txt").write_text("a\nb\nc\nd\n")
    with pytest.raises(EngineError, match="no maps of 4 labels"):
        imported(world, tmp_path / "out", "--labels", str(tmp_path / "four.txt"))


def test_masks_that_cannot_be_read_are_refused_by_name(tmp_path: Path) -> None:
    folder = plates(tmp_path, 3, 1)
    files = sorted((folder / "images").iterdir())
    assert maskfiles.beside(files) is not None
    (folder / "masks" / "0001.png").unlink()
    with pytest.raises(InputError, match=r"1 of 3 pictures have no mask, such as .*0001\.png"):
        maskfiles.beside(files)
    colours = tmp_path / "colours.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(colours)
    with pytest.raises(InputError, match="mode RGB"):
        maskfiles.read(colours, classes=3)
    (tmp_path / "no.png").write_bytes(b"\x89PNG no")
    with pytest.raises(InputError, match="cannot be read"):
        maskfiles.read(tmp_path / "no.png", classes=3)
    Image.fromarray(np.array([[0, 7]], np.uint8)).save(tmp_path / "seven.png")
    with pytest.raises(InputError, match="names the class 7, there are 3"):
        maskfiles.read(tmp_path / "seven.png", classes=3)


def test_pixels_that_nobody_knows_count_nowhere() -> None:
    truth = np.array([[0, 1], [255, 255]], np.uint8)
    counts = maskfiles.compared(np.array([[0, 1], [1, 1]]), truth, classes=2)
    assert counts.tolist() == [[1, 0], [0, 1]]
    assert maskfiles.agreeing(counts, least=0.5)
    assert maskfiles.compared(np.ones((4, 4), int), truth, classes=2).tolist() == [[0, 4], [0, 4]], "at the size of what was found"


def test_two_segmenters_are_compared_by_overlap(world: Path, tmp_path: Path) -> None:
    segmenter(tmp_path / "dull.onnx", bias=25.0)
    imported(world, tmp_path / "good", "--precision", "fp32", "--normalise", "unit", model="big.onnx")
    imported(world, tmp_path / "bad", "--precision", "fp32", "--normalise", "unit", model=str(tmp_path / "dull.onnx"))
    plates(tmp_path / "fresh", 60, 41)
    words = ["compare", str(tmp_path / "good"), str(tmp_path / "bad"), "--pictures", str(tmp_path / "fresh")]
    found = json.loads(typed(world, *words, "--json"))
    assert found["figure"] == "mean_iou"
    assert 0 < found["low"] <= found["difference"] <= found["high"]
    assert "the first is better" in typed(world, *words)
    same = json.loads(typed(world, *words[:2], words[1], *words[3:], "--json"))
    assert (same["difference"], same["agreement"]) == (0.0, 1.0)
