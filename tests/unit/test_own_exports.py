"""What today's exporters write, in small: newer operators, options of their own, a batch fixed in shapes, heads with more than boxes.

The graphs have the traits seen in exports of torchvision 0.28 and timm 1.0 by torch 2.13 (both of its exporters, opset 20) and of
ultralytics 8.4 (YOLOv5 to YOLO26, opset 18), made with random weights.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from cloud.ownmodel import fitting, models, release
from cloud.ownmodel.cli import app
from cloud.ownmodel.surgery import Wanted
from shared.engines.onnx import OnnxEngine
from shared.errors import EngineError, InputError
from tests.unit.own_models import NAMES, SIDE, pictures, squares


def exported(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    kept: dict[str, Any],
    *,
    shape: Sequence[Any],
    out: Sequence[Any],
    opset: int = 20,
    ir: int = 10,
) -> Path:
    """Write a graph with the ends and versions of an exporter."""
    graph = helper.make_graph(
        list(nodes),
        "main_graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("linear", TensorProto.FLOAT, list(out))],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in kept.items()],
    )
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir), str(path))
    return path


def pooled_head(path: Path, *, batch: Any, activation: str, seed: int = 0) -> Path:
    """A classifier as torch's newer exporter writes it: the pooling is a mean over axes given as an input, the flattening a fixed shape."""
    random = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["conv"], name="node_conv2d", pads=[1, 1, 1, 1]),
        helper.make_node(activation, ["conv"], ["act"], name="node_act"),
        helper.make_node("ReduceMean", ["act", "axes"], ["mean"], name="node_mean", keepdims=1, noop_with_empty_axes=0),
        helper.make_node("Reshape", ["mean", "view"], ["flat"], name="node_view", allowzero=1),
        helper.make_node("Gemm", ["flat", "head", "bias"], ["linear"], name="node_linear", transB=1),
    ]
    kept = {
        "w": random.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "axes": np.array([-1, -2], np.int64),
        "view": np.array([batch if isinstance(batch, int) else -1, 8], np.int64),
        "head": random.standard_normal((3, 8)).astype(np.float32),
        "bias": np.zeros(3, np.float32),
    }
    return exported(path, nodes, kept, shape=(batch, 3, SIDE, SIDE), out=(batch, 3))


@pytest.mark.parametrize("activation", ["Relu", "Gelu", "HardSwish"])
@pytest.mark.parametrize("batch", [1, "batch"])
def test_a_classifier_of_opset_20_says_what_it_said(tmp_path: Path, batch: Any, activation: str) -> None:
    given = pooled_head(tmp_path / "given.onnx", batch=batch, activation=activation)
    found = fitting.fit(given, Wanted(), tmp_path / "fitted.onnx")
    assert found.scores == 3
    assert "turned operators of version 20 into version 17" in found.changes
    noise = np.random.default_rng(5).random((4, 3, SIDE, SIDE), np.float32)
    session = onnxruntime.InferenceSession(str(given))
    before = np.concatenate([session.run(None, {"x": one[None]})[0] for one in noise])
    engine = OnnxEngine(tmp_path / "fitted.onnx")
    assert np.allclose(engine.run(noise), before, atol=1e-4)
    engine.close()


def test_an_option_that_says_something_else_is_not_taken_off(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x", "none"], ["mean"], noop_with_empty_axes=1),
        helper.make_node("Flatten", ["mean"], ["linear"]),
    ]
    given = exported(tmp_path / "odd.onnx", nodes, {"none": np.zeros(0, np.int64)}, shape=(1, 3, 2, 2), out=(1, 12))
    with pytest.raises(EngineError):
        fitting.fit(given, Wanted(), tmp_path / "fitted.onnx")


@pytest.mark.parametrize(
    ("columns", "words"), [(4 + 3 + 32, "outlines things: 32 numbers of each box"), (4 + 80, r"84 numbers for each box: 80 classes, or 79")]
)
def test_heads_that_do_not_fit_the_labels_are_named(tmp_path: Path, columns: int, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        models._check_columns((1, columns, 525), 3, tmp_path / "yolo.onnx")
    for fitting_ in ((1, 7, 525), (1, 525, 8), (1, 300, 6)):
        models._check_columns(fitting_, 3, tmp_path / "yolo.onnx")


def test_random_weights_get_no_threshold_and_the_import_says_why(tmp_path: Path) -> None:
    pooled_head(tmp_path / "random.onnx", batch="batch", activation="Relu")
    pictures(tmp_path / "pictures", squares(240, 5))
    (tmp_path / "labels.txt").write_text("\n".join(NAMES) + "\n")
    words = ["import", str(tmp_path / "random.onnx"), "--labels", str(tmp_path / "labels.txt"), "--calibrate", str(tmp_path / "pictures")]
    done = CliRunner(env={"TERRACE_CACHE": str(tmp_path / "cache")}).invoke(
        app, [*words, "--precision", "fp32", "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, (done.output, done.exception)
    assert "the best threshold would keep up to" in done.stdout
    assert "the model is right on" in done.stdout
    assert release.read(tmp_path / "out").card.calibration is None


def test_shapes_that_are_worked_out_as_the_graph_runs_become_constants(tmp_path: Path) -> None:
    """A detector's grid of a free size: rows and columns from the shape of what it looks at, as exporters with `dynamic` write it."""
    cell = 8
    nodes = [
        helper.make_node("AveragePool", ["x"], ["cells"], kernel_shape=[cell, cell], strides=[cell, cell]),
        helper.make_node("Shape", ["cells"], ["shape"]),
        helper.make_node("Gather", ["shape", "three"], ["columns"]),
        helper.make_node("Range", ["zero", "columns", "one"], ["places"]),
        helper.make_node("Cast", ["places"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["cells", "floats"], ["moved"]),
        helper.make_node("Gather", ["shape", "zero"], ["many"]),
        helper.make_node("Unsqueeze", ["many", "axis"], ["many1"]),
        helper.make_node("Concat", ["many1", "rest"], ["view"], axis=0),
        helper.make_node("Reshape", ["moved", "view"], ["rows"]),
        helper.make_node("Pad", ["rows", "pads"], ["linear"]),
    ]
    kept = {"three": np.array(3), "zero": np.array(0), "one": np.array(1), "axis": np.array([0]), "rest": np.array([3, -1])}
    kept["pads"] = np.array([0, 0, 0, 0, 4, 0])
    given = exported(tmp_path / "g.onnx", nodes, kept, shape=("batch", 3, "height", "width"), out=("batch", 7, "anchors"), opset=18, ir=8)
    with pytest.raises(InputError, match="height is free"):
        fitting.fit(given, Wanted(task="detection"), tmp_path / "f.onnx")
    found = fitting.fit(given, Wanted(task="detection", width=32, height=16), tmp_path / "f.onnx")
    assert found.shape == (1, 7, 8)
    assert "worked out shapes that depended on size and batch" in found.changes
    noise = np.random.default_rng(5).random((3, 3, 16, 32), np.float32)
    (before,) = onnxruntime.InferenceSession(str(given)).run(None, {"x": noise})
    engine = OnnxEngine(tmp_path / "f.onnx")
    assert np.allclose(engine.run(noise), before, atol=1e-5)
    engine.close()
