"""Small real ONNX detectors and segmenters, and their releases: what they see follows from a picture's colour."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shared.release import card
from shared.release.card import Calibration, Card, DetectionSpec, InputSpec, Lineage, SelfTest

SIZE = 8
CALIBRATION = Calibration(score="all_right", threshold=-0.5, epsilon=0.01, delta=0.05, risk_bound=0.01, units=300, frames=300)


def detector() -> bytes:
    """Return a detector of two places: as sure of "spot" on the left as the picture is red, of "crack" on the right as it is green."""
    bias = np.array([[2, 6], [4, 4], [4, 4], [4, 4], [0, 0], [0, 0]], np.float32)  # (cx, cy, width, height, spot, crack) by place
    weights = np.zeros((3, 6, 2), np.float32)
    weights[0, 4, 0] = weights[1, 5, 1] = 1.0
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["rows"]),
        helper.make_node("Reshape", ["rows", "shape"], ["boxes"]),
    ]
    tensors = {"w": weights.reshape(3, 12), "b": bias.reshape(12), "shape": np.array([-1, 6, 2], np.int64)}
    return _model(nodes, tensors, ("boxes", ["n", 6, 2]))


def segmenter(classes: int = 2) -> bytes:
    """Return a network that calls red pixels class 1."""
    weights = np.zeros((classes, 3, 1, 1), np.float32)
    weights[1, 0] = 20.0
    bias = np.array([10.0] + [0.0] * (classes - 1), np.float32)
    nodes = [helper.make_node("Conv", ["input", "w", "b"], ["maps"])]
    return _model(nodes, {"w": weights, "b": bias}, ("maps", ["n", classes, SIZE, SIZE]))


def logarithmic() -> bytes:
    """Return a classifier of the redder and the greener picture whose answer to white is no number."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Sub", ["one", "flat"], ["dark"]),
        helper.make_node("Log", ["dark"], ["logs"]),
        helper.make_node("MatMul", ["logs", "w"], ["logits"]),
    ]
    tensors = {"one": np.ones(1, np.float32), "w": -np.array([[1, 0], [0, 1], [0, 0]], np.float32)}
    return _model(nodes, tensors, ("logits", ["n", 2]))


def _model(nodes: list[onnx.NodeProto], tensors: dict[str, np.ndarray], output: tuple[str, list[str | int]]) -> bytes:
    graph = helper.make_graph(
        nodes,
        "seeing",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        [numpy_helper.from_array(tensor, name) for name, tensor in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def write(folder: Path, data: bytes, *, task: str, labels: tuple[str, ...], calibration: Calibration | None = CALIBRATION) -> Path:
    """Write a release of such a model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(data)
    frames = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    made = Card(
        model="student",
        release=3,
        labels=labels,
        input=InputSpec(width=SIZE, height=SIZE),
        self_test=SelfTest(shape=frames.shape, inputs=card.pack_inputs(frames), logits=((0.0,) * len(labels),), tolerance=0.01),
        lineage=Lineage(parent=0, round=0, recipe="", data="", code="", created_at=0.0),
        task=task,
        calibration=calibration,
        detection=DetectionSpec(score_threshold=0.5) if task == "detection" else None,
        onnx_sha256=card.sha256(data),
    )
    (folder / "card.json").write_bytes(card.encode_card(made))
    return folder


def write_detector(folder: Path) -> Path:
    """Write a release of the detector."""
    return write(folder, detector(), task="detection", labels=("spot", "crack"))


def write_segmenter(folder: Path) -> Path:
    """Write a release of the segmenter, calibrated for its score."""
    calibration = msgspec.structs.replace(CALIBRATION, score="soft_dice", threshold=0.8)
    return write(folder, segmenter(), task="segmentation", labels=("none", "scratch"), calibration=calibration)


def with_expert(folder: Path) -> Path:
    """Put the same model beside a release as its expert, as an import with one does."""
    (folder / "expert").mkdir()
    (folder / "expert" / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    described = msgspec.structs.replace(card.decode_card((folder / "card.json").read_bytes()), model="expert")
    (folder / "expert" / "model.card.json").write_bytes(card.encode_card(described))
    return folder
