"""The shipped models of the line: small, sound, as good as their cards say, and rebuilt by one command."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cloud.foundry import build, predictions
from cloud.foundry.cli import app
from cloud.foundry.distil import student_model
from cloud.foundry.pictures import load
from provisioning import datasets
from shared.engines.onnx import OnnxEngine
from shared.learning import arrays
from shared.learning.loop import predict
from shared.release.card import decode_card
from shared.vision.preprocess import prepare

MODELS = Path(__file__).parents[2] / "models" / "line"


def test_the_shipped_models_are_small_sound_and_reach_what_was_asked() -> None:
    files = [path for path in MODELS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 6_000_000
    student = decode_card((MODELS / "student" / "000001.card.json").read_bytes())
    figures = student.lineage.figures
    assert figures["system_minus_expert"] >= -0.007
    assert 0.02 <= figures["deferred_share"] <= 0.2
    assert figures["int8_accuracy_drop"] <= 0.01
    assert figures["int8_speedup"] >= 1.5
    assert json.loads((MODELS / "student" / "000001.card.json").read_bytes())["calibration"]["risk_bound"] < 0.03
    result = CliRunner().invoke(app, ["inspect", str(MODELS)])
    assert result.exit_code == 0, result.output
    for family in ("student", "expert"):
        card = decode_card((MODELS / family / "000001.card.json").read_bytes())
        found = OnnxEngine(MODELS / family / "000001.onnx").run(prepare(card.self_test.frames(), card.input))
        assert np.abs(found - np.array(card.self_test.logits)).max() <= card.self_test.tolerance
    weights = arrays.load(MODELS / "student" / "000001.npz")
    frames = student.self_test.frames()
    answered = predict(student_model(weights, classes=7, side=96), frames).argmax(axis=1)
    assert (answered == np.array(student.self_test.logits).argmax(axis=1)).all(), "the weights are those of the INT8 file"


@pytest.mark.slow
def test_the_shipped_models_reach_on_new_boards_what_their_cards_say(tmp_path: Path) -> None:
    prepared = datasets.prepare("line", tmp_path, wanted=("streams",), streams=1, frames_per_stream=2400, seed=77)
    pictures = load(prepared.streams[0].frames)
    for family, figure in (("student", "student_int8_accuracy"), ("expert", "expert_accuracy")):
        card = decode_card((MODELS / family / "000001.card.json").read_bytes())
        logits = predictions.logits(MODELS / family / "000001.onnx", pictures.frames, card.input)
        assert (logits.argmax(axis=1) == pictures.labels).mean() == pytest.approx(card.lineage.figures[figure], abs=0.02)


@pytest.mark.slow
def test_rebuilt_models_reach_what_the_shipped_cards_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERRACE_CACHE", str(tmp_path / "cache"))
    done = build.build("line", tmp_path / "out", say=lambda _: None)
    shipped = decode_card((MODELS / "student" / "000001.card.json").read_bytes()).lineage.figures
    for name in ("student_int8_accuracy", "expert_accuracy", "system_accuracy"):
        assert done.student.lineage.figures[name] >= shipped[name] - 0.015, name
