"""A user's own model: from an ONNX file and a folder of pictures to a release that a device loads and that knows when it does not know."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cloud.ownmodel import importing, release
from cloud.ownmodel.cli import app
from edge.model import open_model
from edge.selftest import compare as compared
from region.experts.onnx import read_card
from shared.deferral.reading import reader_of
from shared.engines.onnx import OnnxEngine
from shared.errors import InputError, TerraceError, TrustError
from shared.release.card import decode_card
from shared.vision.preprocess import prepare
from tests.unit.own_models import IMAGENET, NAMES, classifier, half_blind, pictures, squares


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model, a larger one, labels and pictures, as users have them."""
    folder = tmp_path_factory.mktemp("own")
    classifier(folder / "small.onnx", bias=(1.2, 0.0, -0.6), wants=IMAGENET, end="Softmax")
    classifier(folder / "big.onnx")
    pictures(folder / "pictures", squares(360, 5))
    pictures(folder / "plain", squares(120, 6), named=False)
    (folder / "labels.txt").write_text("\n".join(NAMES) + "\n")
    return folder


def typed(world: Path, *words: str, code: int = 0) -> str:
    done = CliRunner(env={"TERRACE_CACHE": str(world / "cache")}).invoke(app, list(words))
    if done.exception is not None and isinstance(done.exception, TerraceError):
        raise done.exception
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


def imported(world: Path, out: Path, *more: str, model: str = "small.onnx", folder: str = "pictures") -> dict[str, Any]:
    words = ["import", str(world / model), "--labels", str(world / "labels.txt"), "--calibrate", str(world / folder), "--out", str(out)]
    found: dict[str, Any] = json.loads(typed(world, *words, *more, "--json"))
    return found


def test_a_model_becomes_a_release_that_a_device_runs(world: Path, tmp_path: Path) -> None:
    found = imported(world, tmp_path / "release", "--expert", str(world / "big.onnx"))
    assert found["normalisation"] == "imagenet", found["tried"]
    assert "took the last Softmax off" in found["changes"]
    model = open_model(tmp_path / "release" / "model.onnx", tmp_path / "release" / "card.json", OnnxEngine)
    card = model.card
    assert card.labels == NAMES
    assert card.calibration is not None
    assert 0.0 < card.calibration.risk_bound < 0.2
    assert card.calibration.units > 100
    assert compared(card.self_test, model.engine.run(prepare(card.self_test.frames(), card.input))) == ""
    fresh = squares(200, 9)
    right = (model.engine.run(prepare(fresh.frames, card.input)).argmax(axis=1) == fresh.labels).mean()
    assert right > 0.7
    assert abs(card.lineage.figures[f"student_{found['precision']}_accuracy"] - right) < 0.1, "the card says what is so"
    expert = read_card(tmp_path / "release" / "expert" / "model.onnx")
    assert expert.lineage.figures["expert_accuracy"] >= card.lineage.figures["student_fp32_accuracy"]
    assert card.picture_quality[0].bytes_mean > 0


def test_a_second_import_goes_on_from_what_is_kept(world: Path, tmp_path: Path) -> None:
    first = imported(world, tmp_path / "one")
    words = ["import", str(world / "small.onnx"), "--labels", str(world / "labels.txt"), "--calibrate", str(world / "pictures")]
    done = CliRunner(env={"TERRACE_CACHE": str(world / "cache")}).invoke(app, [*words, "--out", str(tmp_path / "two")])
    assert done.exit_code == 0, done.output
    assert "answers: kept from an earlier build" in done.output
    card = decode_card((tmp_path / "two" / "card.json").read_bytes())
    assert card.onnx_sha256 == first["card"]["onnx_sha256"], "the same order, the same file"


def test_int8_is_asked_for_and_its_loss_told(world: Path, tmp_path: Path) -> None:
    found = imported(world, tmp_path, "--precision", "int8", model="big.onnx")
    operators = json.loads(typed(world, "inspect", str(tmp_path / "model.onnx"), "--json"))["operators"]
    assert "QuantizeLinear" in operators
    assert found["precision"] == "int8"
    assert abs(found["card"]["lineage"]["figures"]["int8_accuracy_drop"]) <= 0.02
    assert "QuantizeLinear" not in json.loads(typed(world, "inspect", str(world / "big.onnx"), "--json"))["operators"]


def test_without_labels_the_expert_says_what_pictures_show(world: Path, tmp_path: Path) -> None:
    found = imported(
        world, tmp_path, "--normalise", "imagenet", "--expert", str(world / "big.onnx"), "--expert-normalise", "unit", folder="plain"
    )
    figures = found["card"]["lineage"]["figures"]
    assert found["card"]["calibration"]["units"] > 30
    assert "student_fp32_agreement" in figures
    assert "student_fp32_accuracy" not in figures


def test_without_labels_and_expert_devices_only_audit_and_are_told_so(world: Path, tmp_path: Path) -> None:
    found = imported(world, tmp_path, "--normalise", "imagenet", folder="plain")
    assert found["card"]["calibration"] is None
    assert "audit samples only" in found["warnings"][0]
    assert open_model(tmp_path / "model.onnx", tmp_path / "card.json", OnnxEngine).card.calibration is None
    with pytest.raises(InputError, match="cannot be found without labels"):
        imported(world, tmp_path, folder="plain")


def test_labels_in_another_order_are_noticed(world: Path, tmp_path: Path) -> None:
    (tmp_path / "turned.txt").write_text("green\nblue\nred\n")
    found = imported(world, tmp_path / "out", "--labels", str(tmp_path / "turned.txt"), "--normalise", "imagenet")
    assert any("another order" in warning for warning in found["warnings"]), found["warnings"]


def test_a_second_look_is_taken_where_it_pays_on_other_units(world: Path, tmp_path: Path) -> None:
    half_blind(tmp_path / "half.onnx")
    more = ("--precision", "fp32", "--normalise", "unit", "--expert", str(world / "big.onnx"), "--expert-normalise", "unit")
    found = imported(world, tmp_path / "a", *more, model=str(tmp_path / "half.onnx"))
    look = found["card"]["second_look"]
    assert (look["turns"], found["card"]["schema"]) == (["mirror"], 2)
    assert "looks twice, the second time mirror" in typed(world, "inspect", str(tmp_path / "a"))
    assert open_model(tmp_path / "a" / "model.onnx", tmp_path / "a" / "card.json", OnnxEngine).card.second_look is not None
    plain = imported(world, tmp_path / "b", *more, model="big.onnx")
    assert plain["card"]["second_look"] is None, "a model that sees both halves gains nothing"


def test_a_learned_score_is_taken_where_margins_mislead(world: Path, tmp_path: Path) -> None:
    classifier(tmp_path / "sure.onnx", bias=(6.0, 0.0, 0.0))
    pictures(tmp_path / "many", squares(700, 21))
    more = ("--precision", "fp32", "--normalise", "unit", "--expert", str(world / "big.onnx"), "--expert-normalise", "unit")
    found = imported(world, tmp_path / "a", *more, model=str(tmp_path / "sure.onnx"), folder=str(tmp_path / "many"))
    calibration = found["card"]["calibration"]
    assert calibration["score"] == "learned"
    assert calibration["learned"]["pairs"], "what was taken for the first class is doubted more"
    assert found["card"]["lineage"]["figures"]["learned_score_gain"] > 0
    opened = open_model(tmp_path / "a" / "model.onnx", tmp_path / "a" / "card.json", OnnxEngine)
    fresh = squares(200, 22)
    scores = reader_of(opened.card)(opened.engine.run(prepare(fresh.frames, opened.card.input))).scores
    deferred = np.array(scores) < calibration["threshold"]
    assert 0.0 < deferred.mean() < 0.5


def test_a_class_without_pictures_is_named(world: Path, tmp_path: Path) -> None:
    few = squares(240, 4)
    pictures(tmp_path / "two", few.taken(np.flatnonzero(few.labels < 2)))
    words = ["import", str(world / "big.onnx"), "--labels", str(world / "labels.txt"), "--calibrate", str(tmp_path / "two"), "--json"]
    found = json.loads(typed(world, *words, "--out", str(tmp_path / "out")))
    assert "no pictures of blue" in found["warnings"][0]


def test_two_releases_are_compared_on_the_same_pictures(world: Path, tmp_path: Path) -> None:
    imported(world, tmp_path / "small")
    imported(world, tmp_path / "big", model="big.onnx")
    pictures(tmp_path / "fresh", squares(150, 11))
    words = ["compare", str(tmp_path / "big"), str(tmp_path / "small"), "--pictures", str(tmp_path / "fresh")]
    found = json.loads(typed(world, *words, "--json"))
    assert found["low"] <= found["difference"] <= found["high"]
    assert found["pictures"] == 150
    assert "95 % between" in typed(world, *words)
    same = json.loads(
        typed(world, "compare", str(tmp_path / "big"), str(tmp_path / "big"), "--pictures", str(tmp_path / "fresh"), "--json")
    )
    assert (same["difference"], same["agreement"]) == (0.0, 1.0)


def test_a_release_whose_file_was_exchanged_is_refused(world: Path, tmp_path: Path) -> None:
    imported(world, tmp_path / "one")
    assert "self-test: 4 pictures answered" in typed(world, "inspect", str(tmp_path / "one"))
    (tmp_path / "one" / "model.onnx").write_bytes((world / "big.onnx").read_bytes())
    with pytest.raises(TrustError, match="is not the card of"):
        release.read(tmp_path / "one")


def test_a_stop_leaves_no_half_release(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(importing.latency, "of_profiles", stop)
    words = ["import", str(world / "small.onnx"), "--labels", str(world / "labels.txt"), "--calibrate", str(world / "pictures")]
    done = CliRunner(env={"TERRACE_CACHE": str(world / "cache")}).invoke(app, [*words, "--out", str(tmp_path / "release")])
    assert done.exit_code != 0
    assert not (tmp_path / "release").exists()
