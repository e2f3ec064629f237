"""A quantised model rewritten for another engine still says the same, checked by running it: the shipped student and small graphs."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from shared.engines import quantised
from shared.engines.base import Batch
from shared.engines.fields import field, fields, integers
from shared.engines.onnx import OnnxEngine
from shared.errors import EngineError
from shared.release.card import Card, decode_card
from shared.vision.preprocess import prepare
from tests.examples import examples
from tests.unit import models

STUDENT = Path(__file__).parents[2] / "models" / "line" / "student" / "000001.onnx"


@pytest.fixture(scope="module")
def card() -> Card:
    return decode_card(STUDENT.with_suffix(".card.json").read_bytes())


def _logits(model: bytes, batch: Batch, folder: Path) -> Batch:
    (folder / "m.onnx").write_bytes(model)
    return OnnxEngine(folder / "m.onnx").run(batch)


def _tiny(zero: int = 0, kind: Any = np.uint8) -> bytes:
    """Return a Q/DQ classifier of three channels whose activation has the given zero point."""
    weights = {
        "w": np.eye(3, 4, dtype=np.float32),
        "b": np.zeros(4, np.float32),
        "s": np.array(1 / 255, np.float32),
        "z": np.array(zero, kind),
    }
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("QuantizeLinear", ["pooled", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Flatten", ["d"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@pytest.mark.parametrize("rewrite", [quantised.plain, quantised.signed])
def test_the_shipped_student_rewritten_passes_its_own_self_test(card: Card, tmp_path: Path, rewrite: Any) -> None:
    made = rewrite(STUDENT.read_bytes())
    onnx.checker.check_model(made)
    batch = prepare(card.self_test.frames(), card.input)
    found, promised = _logits(made, batch, tmp_path), np.asarray(card.self_test.logits, np.float32)
    assert np.abs(found - promised).max() <= card.self_test.tolerance
    assert np.array_equal(found.argmax(axis=1), promised.argmax(axis=1))


def test_what_is_left_is_what_was_asked_for() -> None:
    model = STUDENT.read_bytes()
    assert quantised.is_quantised(model)
    assert not quantised.is_signed(model)
    assert not quantised.is_quantised(quantised.plain(model))
    kept = quantised.signed(model)
    assert quantised.is_quantised(kept)
    assert quantised.is_signed(kept)
    assert quantised.signed(kept) != b""
    assert not quantised.is_quantised(models.linear([[1.0, 0.0]] * 3))


def test_a_relu_hidden_in_a_range_comes_back_and_only_where_something_computes() -> None:
    operators = [node.op_type for node in onnx.load_from_string(quantised.plain(STUDENT.read_bytes())).graph.node]
    assert operators.count("Relu") == operators.count("Conv") == 5
    assert "QuantizeLinear" not in operators


@pytest.mark.parametrize(("zero", "kind"), [(0, np.uint8), (128, np.uint8), (0, np.int8)])
def test_a_small_model_keeps_its_answers_within_a_step(tmp_path: Path, zero: int, kind: Any) -> None:
    batch = np.random.default_rng(1).random((3, 3, 8, 8), dtype=np.float32) * 0.4
    model = _tiny(zero, kind)
    before = _logits(model, batch, tmp_path)
    for made in (quantised.plain(model), quantised.signed(model)):
        assert np.abs(_logits(made, batch, tmp_path) - before).max() <= 2 / 127


def test_models_quantised_otherwise_are_refused_with_a_remedy() -> None:
    model = onnx.load_from_string(_tiny())
    model.graph.node[3].input[0] = "q"  # the network computes on the integers
    with pytest.raises(EngineError, match="Flatten") as caught:
        quantised.plain(model.SerializeToString())
    assert "Q/DQ" in caught.value.remedy
    model = onnx.load_from_string(_tiny())
    del model.graph.node[1]
    with pytest.raises(EngineError, match="quantised in a way"):
        quantised.signed(model.SerializeToString())


def test_each_precision_gets_the_model_it_takes_and_no_work_twice() -> None:
    model = STUDENT.read_bytes()
    assert quantised.prepared(model, "fp16") == quantised.prepared(model, "fp32") == quantised.plain(model)
    once = quantised.prepared(model, "int8")
    assert once == quantised.signed(model)
    assert quantised.prepared(once, "int8") == once
    unquantised = models.linear([[1.0, 0.0]] * 3)
    assert quantised.prepared(unquantised, "int8") == unquantised


@given(st.data())
@settings(max_examples=examples(200), deadline=None)
def test_a_damaged_model_is_rewritten_or_refused_and_nothing_else(data: Any) -> None:
    good = bytearray(_tiny())
    good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    for rewrite in (quantised.plain, quantised.signed):
        try:
            rewrite(bytes(good))
        except EngineError:
            continue


@given(st.lists(st.tuples(st.integers(1, 500), st.one_of(st.integers(0, 2**63), st.binary(max_size=300))), max_size=20))
def test_fields_come_back_as_they_were_written(wanted: list[tuple[int, int | bytes]]) -> None:
    data = b"".join(field(number, value) for number, value in wanted)
    found = [(number, value if isinstance(value, int) else bytes(value)) for number, value in fields(memoryview(data))]
    assert found == wanted


def test_packed_integers_may_be_negative() -> None:
    tensor = onnx.TensorProto(dims=[2], data_type=TensorProto.INT8, int32_data=[-3, 300])
    packed = next(value for number, value in fields(memoryview(tensor.SerializeToString())) if number == 5)
    assert not isinstance(packed, int)
    assert integers(packed) == [-3, 300]
