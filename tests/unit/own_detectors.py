"""A user's detector and boards for tests of `terrace model`: a grid of cells, each with the probability that it is red, green or blue."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SIDE, CELL = 48, 8
GRID = SIDE // CELL
NAMES = ("red", "green", "blue")


def detector(path: Path, *, sharp: float = 60.0, bias: float = -4.0, pixels: bool = True, sigmoid: bool = True, last: bool = False) -> Path:
    """Write a detector in the form of one-stage exporters, (N, 4 + 3, cells): how much a cell's mean differs from grey says what it is.

    Args:
        path: the file.
        sharp: how steep the probability rises with the colour.
        bias: of the logit: lower sees less.
        pixels: boxes in pixels, else as shares of the picture.
        sigmoid: probabilities, else logits.
        last: (N, cells, 7) in place of (N, 7, cells).
    """
    centres = (np.stack(np.meshgrid(np.arange(GRID), np.arange(GRID)), 0).reshape(2, -1) + 0.5) * CELL
    boxes = np.concatenate([centres, np.full_like(centres, CELL)])[None].astype(np.float32) / (1 if pixels else SIDE)
    mix = (np.eye(3) * 1.5 - 0.5).reshape(3, 3, 1, 1).astype(np.float32) * sharp
    nodes = [
        helper.make_node("AveragePool", ["images"], ["cells"], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        helper.make_node("Conv", ["cells", "mix", "bias"], ["logits"], name="last_conv"),
        helper.make_node("Reshape", ["logits", "flat"], ["rows"], name="reshape"),
        helper.make_node("Sigmoid" if sigmoid else "Identity", ["rows"], ["scores"], name="squash"),
        helper.make_node("Slice", ["scores", "begin", "end", "axis"], ["one"], name="slice"),
        helper.make_node("Mul", ["one", "zero"], ["none"], name="none"),
        helper.make_node("Add", ["none", "boxes"], ["placed"], name="place"),
        helper.make_node("Concat", ["placed", "scores"], ["whole" if last else "found"], axis=1, name="concat"),
        *([helper.make_node("Transpose", ["whole"], ["found"], perm=[0, 2, 1], name="turn")] if last else []),
    ]
    kept = {"mix": mix, "bias": np.full(3, bias, np.float32), "boxes": boxes, "zero": np.zeros(1, np.float32)}
    kept |= {"flat": np.array([-1, 3, GRID * GRID]), "begin": np.array([0]), "end": np.array([1]), "axis": np.array([1])}
    dims = ["n", GRID * GRID, 7] if last else ["n", 7, GRID * GRID]
    graph = helper.make_graph(
        nodes,
        "grid",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, dims)],
        [numpy_helper.from_array(values, name) for name, values in kept.items()],
    )
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def boards(folder: Path, count: int, seed: int, *, labelled: bool = True, rows: int = GRID) -> Path:
    """Write boards of so many rows of cells with up to three coloured ones, from faint to plain, and the files that say where they are."""
    random = np.random.default_rng(seed)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        frame = random.integers(80, 110, (rows * CELL, SIDE, 3))
        lines = []
        for cell in random.choice(rows * GRID, random.integers(0, 4), replace=False):
            row, column, kind = int(cell) // GRID, int(cell) % GRID, int(random.integers(3))
            frame[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL, kind] += int(random.integers(10, 60))
            lines.append(f"{kind} {(column + 0.5) / GRID} {(row + 0.5) / rows} {1 / GRID} {1 / rows}")
        Image.fromarray(frame.astype(np.uint8)).save(folder / "images" / f"{index:04d}.png", compress_level=1)
        if labelled and lines:
            (folder / "labels" / f"{index:04d}.txt").write_text("\n".join(lines) + "\n")
    return folder
