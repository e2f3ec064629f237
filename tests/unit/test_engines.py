"""Engines run what a release may contain, refuse the rest and explain themselves."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from shared.engines.admission import admit
from shared.engines.base import Batch
from shared.engines.onnx import OnnxEngine
from shared.errors import EngineError
from tests.examples import examples
from tests.unit import models

WEIGHTS = [[4.0, 0.0], [0.0, 4.0], [0.0, 0.0]]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(models.linear(WEIGHTS))
    return path


def _batch(count: int = 2, size: int = 8) -> Batch:
    return np.random.default_rng(0).random((count, 3, size, size), dtype=np.float32)


def test_runs_any_batch_size_deterministically(model: Path) -> None:
    engine = OnnxEngine(model, threads=2).load()
    batch = _batch(5)
    logits = engine.run(batch)
    np.testing.assert_allclose(logits, batch.mean(axis=(2, 3)) @ np.array(WEIGHTS), atol=1e-5)
    assert np.array_equal(logits, OnnxEngine(model).run(batch))
    assert engine.run(batch[:1]).shape == (1, 2)
    assert engine.name == "onnxruntime cpu"
    engine.close()


@pytest.mark.parametrize("batch", [_batch(size=9), _batch(0), _batch().astype(np.float64), _batch()[0]])
def test_a_batch_of_another_shape_is_an_engine_error(model: Path, batch: Batch) -> None:
    with pytest.raises(EngineError, match="batch"):
        OnnxEngine(model).run(batch)


def test_logits_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "nan.onnx"
    path.write_bytes(models.linear([[np.nan, 0.0]] * 3))
    with pytest.raises(EngineError, match="finite"):
        OnnxEngine(path).run(_batch())


def test_files_that_are_no_model_are_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(EngineError, match="cannot be read"):
        OnnxEngine(tmp_path / "missing.onnx").load()
    for name, data in {"empty": b"", "text": b"hello there, no model", "cut": model.read_bytes()[:-40]}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(EngineError):
            OnnxEngine(tmp_path / name).load()


def test_a_provider_this_machine_lacks_is_named(model: Path) -> None:
    with pytest.raises(EngineError, match="NoSuchExecutionProvider"):
        OnnxEngine(model, providers=["NoSuchExecutionProvider"]).load()


def test_admission_counts_nodes_of_a_good_model(model: Path) -> None:
    assert admit(model.read_bytes()) == 3


def test_custom_operators_and_unlisted_ones_are_refused() -> None:
    with pytest.raises(EngineError, match="custom"):
        admit(models.linear(WEIGHTS, domain="evil.example"))
    with pytest.raises(EngineError, match="list of operators"):
        admit(models.linear(WEIGHTS, operator="StringNormalizer"))


def test_data_outside_the_file_is_refused_wherever_it_stands() -> None:
    with pytest.raises(EngineError, match="outside"):
        admit(models.external(models.linear(WEIGHTS)))
    model = onnx.load_from_string(models.linear(WEIGHTS))
    tensor = helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])
    tensor.data_location = TensorProto.EXTERNAL
    model.graph.node.append(helper.make_node("Constant", [], ["hidden"], value=tensor))
    with pytest.raises(EngineError, match="outside"):
        admit(model.SerializeToString())


def _varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + _varint(value >> 7) if value >= 0x80 else bytes([value])


def test_a_field_that_only_the_runtime_would_see_is_refused() -> None:
    # the runtime's reader keeps 32 bits of a field's key: with bit 32 set a second graph is part of the model to it, and nothing to us
    evil = onnx.load_from_string(models.linear(WEIGHTS, domain="evil.example")).graph.SerializeToString()
    key = 1 << 32 | 7 << 3 | 2
    tag = bytes([key & 0x7F | 0x80, 0x80, 0x80, 0x80, key >> 28])
    hidden = models.linear(WEIGHTS) + tag + _varint(len(evil)) + evil
    with pytest.raises(EngineError, match="number that is none"):
        admit(hidden)


def test_control_flow_and_functions_are_refused() -> None:
    model = onnx.load_from_string(models.linear(WEIGHTS))
    model.graph.node.append(helper.make_node("Identity", ["logits"], ["more"], body=model.graph))
    with pytest.raises(EngineError, match="graph inside"):
        admit(model.SerializeToString())
    model = onnx.load_from_string(models.linear(WEIGHTS))
    model.functions.append(helper.make_function("d", "f", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], []))
    with pytest.raises(EngineError, match="functions"):
        admit(model.SerializeToString())


@given(st.binary(max_size=300))
def test_any_bytes_are_either_a_model_or_an_engine_error(data: Any) -> None:
    with pytest.raises(EngineError):
        admit(data)


@given(st.data())
@settings(max_examples=examples(200))
def test_a_damaged_model_never_raises_anything_else(data: Any) -> None:
    good = bytearray(models.linear(WEIGHTS))
    place = data.draw(st.integers(0, len(good) - 1))
    good[place] = data.draw(st.integers(0, 255))
    try:
        admit(bytes(good))
    except EngineError:
        return
