"""`terrace hw probe` tells what this machine is, what will run and why, and measures it; a probe that cannot run says what is missing."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from shared.errors import EngineError
from shared.hwprofile import timing
from shared.hwprofile.cli import app

SECONDS = ("--seconds", "0.001")


def _run(*arguments: str) -> tuple[int, str, BaseException | None]:
    result = CliRunner().invoke(app, ["probe", *arguments])
    return result.exit_code, result.output, result.exception


def test_the_shipped_student_is_measured_on_this_machine() -> None:
    code, output, _ = _run("generic-x86", "--json", *SECONDS)
    found = json.loads(output)
    assert code == 0
    assert found["choice"]["engine"] == "onnx"
    assert found["choice"]["why"]
    assert [one["batch"] for one in found["measured"]["latencies"]] == [1, 8]
    assert all(0 < one["p50_ms"] <= one["p99_ms"] for one in found["measured"]["latencies"])
    assert found["measured"]["int8_speedup"] > 0
    assert found["machine"]["cores"] >= 1
    assert {one["profile"] for one in found["fits"]} >= {"generic-x86", "v100"}


def test_people_read_what_and_why() -> None:
    code, output, _ = _run("auto", "--seconds", "0")
    assert code == 0
    assert "machine " in output
    assert "profile " in output
    assert "because " in output
    assert "measured" not in output


def test_a_model_that_is_not_quantised_has_no_speed_up() -> None:
    expert = Path(__file__).parents[2] / "models" / "line" / "expert" / "000001.onnx"
    _, output, _ = _run("generic-x86", "--model", str(expert), "--json", *SECONDS)
    assert json.loads(output)["measured"]["int8_speedup"] is None


def test_what_is_missing_is_told_after_everything_else(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[2] / "models" / "line" / "student" / "000001.onnx", tmp_path / "mine.onnx")
    code, output, error = _run("generic-x86", "--model", str(tmp_path / "mine.onnx"), *SECONDS)
    assert code != 0
    assert "machine " in output
    assert isinstance(error, EngineError)
    assert "mine.card.json" in error.remedy


@given(st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=200), st.integers(1, 64))
def test_a_summary_lies_within_what_was_measured(seconds: list[float], batch: int) -> None:
    found = timing.summarise(batch, seconds)
    assert 1e3 * min(seconds) - 0.001 <= found.p50_ms <= found.p99_ms + 0.001 <= 1e3 * max(seconds) + 0.002
    assert found.runs == len(seconds)


def test_a_ratio_is_the_median_of_pairs() -> None:
    assert timing.ratio([2.0, 4.0, 90.0], [1.0, 2.0, 1.0]) == pytest.approx(2.0)
