"""Profiles are found in order, checked against their schema and against the machine."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from region.experts.onnx import OnnxExpert
from shared.engines.trt import TensorRtEngine
from shared.errors import ConfigurationError, DependencyError, EngineError
from shared.hwprofile import fit, look, profile, shelf
from shared.hwprofile.cli import app
from shared.hwprofile.engine import engine_maker
from shared.hwprofile.machine import Machine
from tests.unit import models
from tests.unit.region_parts import an_expert

TEXT = """schema = 1
name = "board"
summary = "a board"
kind = "edge"
machines = ["x86_64"]
[engine]
name = "onnx"
precision = "int8"
"""


def _run(*arguments: str) -> tuple[int, str, BaseException | None]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output, result.exception


def test_every_shipped_profile_is_valid_and_named_after_its_file() -> None:
    known = shelf.names()
    assert {"generic-x86", "generic-arm64", "jetson-orin-nano", "raspberry-pi-5", "v100"} <= set(known)
    for name in known:
        found = shelf.find(name)
        assert found.name == name
        assert found.summary
        assert all(fact.source for fact in found.facts)


def test_auto_is_a_profile_that_fits_this_machine() -> None:
    found = shelf.find("auto")
    assert found.kind == "edge"
    assert all(finding.ok for finding in fit.identity(found, look.board()))


def test_a_given_folder_wins_over_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "generic-x86.toml").write_text(TEXT.replace("board", "generic-x86", 1))
    assert shelf.find("generic-x86", tmp_path).summary == "a board"
    assert shelf.find("generic-x86").summary != "a board"


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (("precision", "precisoin"), "precisoin"),
        (('"int8"', '"int3"'), "int3"),
        (("schema = 1", "schema = 2"), "schema"),
        (('"board"', '"other"'), "other"),
        (("[engine]", "[engine"), "line 6"),
        (('["x86_64"]', "[]"), "machines"),
    ],
)
def test_a_wrong_profile_is_refused_naming_what_is_wrong(change: tuple[str, str], names: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        profile.parse(TEXT.replace(*change), name="board")
    assert names.lower() in caught.value.message.lower() or "invalid" in caught.value.message.lower()


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        shelf.find("toaster")
    assert "generic-x86" in caught.value.remedy
    with pytest.raises(ConfigurationError, match="folder"):
        shelf.find("generic-x86", tmp_path / "none")


def test_a_machine_is_checked_against_each_demand() -> None:
    board = profile.parse(TEXT.replace('kind = "edge"', 'kind = "edge"\nmemory_mb = 4096'), name="board")
    good = Machine(machine="x86_64", cores=2, memory_mb=8192, providers=("CPUExecutionProvider",))
    assert all(finding.ok for finding in fit.check(board, good))
    for field, value in {"machine": "aarch64", "cores": 0, "memory_mb": 2048, "providers": ()}.items():
        wrong = [one for one in fit.check(board, msgspec.structs.replace(good, **{field: value})) if not one.ok]
        assert len(wrong) == 1
        assert wrong[0].remedy
    trt = profile.parse(TEXT.replace('"onnx"', '"tensorrt"'), name="board")
    assert [one.ok for one in fit.check(trt, good)][-1] is False


def test_the_profile_decides_the_engine(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(models.linear([[1.0, 0.0]] * 3))
    board = profile.parse(TEXT, name="board")
    assert engine_maker(board, cache=tmp_path)(tmp_path / "m.onnx").name == "onnxruntime cpu"
    engine = TensorRtEngine(tmp_path / "m.onnx", cache=tmp_path, precision="int8")
    assert engine.name == "tensorrt int8"
    if not look.machine().has_tensorrt:
        with pytest.raises(DependencyError, match="TensorRT"):
            engine.load()
        with pytest.raises(EngineError, match="TensorRT") as caught:
            engine_maker(profile.parse(TEXT.replace('"onnx"', '"tensorrt"'), name="board"), cache=tmp_path)(tmp_path / "m.onnx")
        assert "NVIDIA" in caught.value.remedy


def test_the_commands_print_text_or_json(tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text(TEXT)
    assert "generic-arm64" in _run("list")[1]
    assert {one["name"] for one in json.loads(_run("list", "--json", "--profiles", str(tmp_path))[1])} >= {"board", "generic-x86"}
    assert 'precision = "int8"' in _run("show", "board", "--profiles", str(tmp_path))[1]
    assert json.loads(_run("show", "--json")[1])["schema"] == 1
    assert json.loads(_run("schema")[1])["$defs"]["Profile"]["additionalProperties"] is False


def test_check_fails_with_a_remedy_where_the_machine_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text(TEXT.replace("x86_64", "s390x"))
    code, output, error = _run("check", "board", "--profiles", str(tmp_path))
    assert code != 0
    assert "NO  processor" in output
    assert isinstance(error, ConfigurationError)
    assert error.remedy


def test_an_expert_answers_the_same_on_the_engine_of_a_profile(tmp_path: Path) -> None:
    plain = an_expert(tmp_path)
    found = shelf.find("auto", kinds=("edge", "region"))
    path = tmp_path / "000001.onnx"
    other = OnnxExpert(path, plain._card, threads=1, make=engine_maker(found, cache=tmp_path / "engines")).load()
    picture = np.full((8, 8, 3), (200, 0, 0), np.uint8)
    assert other.answer([picture]) == plain.answer([picture])
    assert other.name.startswith(("onnxruntime", "tensorrt"))
