"""A user's models and pictures for tests of `terrace model`: small graphs that tell the colour of a square, as exporters write them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from shared.learning.samples import Samples

SIDE = 24
NAMES = ("red", "green", "blue")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
UNIT = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def squares(count: int, seed: int) -> Samples:
    """Squares of three colours on noise, from invisible to plain."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    frames = random.integers(60, 120, (count, SIDE, SIDE, 3))
    for index, (column, row) in enumerate(random.integers(6, SIDE - 6, (count, 2))):
        frames[index, row - 3 : row + 3, column - 3 : column + 3, labels[index]] += int(110 * random.random())
    return Samples(frames=frames.astype(np.uint8), labels=labels.astype(np.int64))


def pictures(folder: Path, samples: Samples, *, named: bool = True) -> Path:
    """Write samples as PNG files, one sub-folder per class or all into one folder."""
    for index, (frame, label) in enumerate(zip(samples.frames, samples.labels.tolist(), strict=True)):
        inside = folder / NAMES[label] if named else folder
        inside.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(inside / f"{index:04d}.png", compress_level=1)
    return folder


def classifier(
    path: Path,
    *,
    bias: Sequence[float] = (0.0, 0.0, 0.0),
    wants: tuple[Sequence[float], Sequence[float]] = UNIT,
    end: str = "",
    shape: Sequence[Any] = ("n", 3, SIDE, SIDE),
    opset: int = 17,
    bgr: bool = False,
    more: Sequence[onnx.NodeProto] = (),
    weights: Sequence[onnx.TensorProto] = (),
    outputs: Sequence[tuple[str, Sequence[Any]]] = (("scores", ("n", 3)),),
) -> Path:
    """Write a classifier that undoes its normalisation, averages each channel, and names the strongest.

    Args:
        path: the file.
        bias: added to the logits: makes it worse.
        wants: mean and deviation of the pixels it takes.
        end: operator at the end, such as Softmax.
        shape: of its input.
        opset: version of its operators.
        bgr: it takes blue first.
        more: nodes that stand behind `pooled` (N, 3, 1, 1), in place of the head.
        weights: of those.
        outputs: names and shapes.
    """
    mean, deviation = (np.asarray(one, np.float32) for one in wants)
    order = np.eye(3, dtype=np.float32)[::-1] if bgr else np.eye(3, dtype=np.float32)
    first = (order * deviation[:, None]).reshape(3, 3, 1, 1)
    head = np.array([[1, -0.5, -0.5], [-0.5, 1, -0.5], [-0.5, -0.5, 1]], np.float32) * 400
    made = [
        helper.make_node("Conv", ["images", "first", "mean"], ["plain"]),
        helper.make_node("BatchNormalization", ["plain", "one", "zero", "zero", "one"], ["same"]),
        helper.make_node("GlobalAveragePool", ["same"], ["pooled"]),
    ]
    kept = [("first", first), ("mean", mean), ("one", np.ones(3)), ("zero", np.zeros(3)), ("head", head.T), ("bias", np.array(bias))]
    if not more:
        last = "logits" if end else "scores"
        made += [
            helper.make_node("Reshape", ["pooled", "flat"], ["rows"]),
            helper.make_node("Gemm", ["rows", "head", "bias"], [last]),
            *([helper.make_node(end, ["logits"], ["scores"])] if end else []),
        ]
    tensors = [numpy_helper.from_array(np.asarray(values, np.float32), name) for name, values in kept]
    batch = shape[0] if isinstance(shape[0], int) else -1
    graph = helper.make_graph(
        [*made, *more],
        "user",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(dims)) for name, dims in outputs],
        [*tensors, numpy_helper.from_array(np.array([batch, 3], np.int64), "flat"), *weights],
    )
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString())
    return path


def video(path: Path, samples: Samples) -> Path:
    """Write samples as a film, each picture four times as wide and high."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.width = stream.height = 4 * SIDE
        stream.pix_fmt = "yuv420p"
        for frame in samples.frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.repeat(4, 0).repeat(4, 1), format="rgb24")))
        container.mux(stream.encode())
    return path


def half_blind(path: Path) -> Path:
    """Write a classifier that sees the left half of a picture only; mirrored, it sees the other."""
    head = np.array([[1, -0.5, -0.5], [-0.5, 1, -0.5], [-0.5, -0.5, 1]], np.float32) * 200
    kept = {"begin": np.array([0]), "end": np.array([SIDE // 2]), "axis": np.array([3]), "head": head.T}
    nodes = [
        helper.make_node("Slice", ["images", "begin", "end", "axis"], ["left"]),
        helper.make_node("GlobalAveragePool", ["left"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["rows"]),
        helper.make_node("MatMul", ["rows", "head"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "user",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.ascontiguousarray(values), name) for name, values in kept.items()],
    )
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())
    return path
