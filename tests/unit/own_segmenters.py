"""A user's segmenter and pictures for tests of `terrace model`: rectangles of red and green on noise, and the masks that say where."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SIDE = 32
NAMES = ("ground", "red", "green")


def segmenter(path: Path, *, sharp: float = 60.0, bias: float = 6.0, end: str = "", wants: tuple[float, float] = (0.0, 1.0)) -> Path:
    """Write a network that tells red and green pixels from the others by the mean of three by three, (N, 3, rows, columns).

    Args:
        path: the file.
        sharp: how steep a logit rises with the colour.
        bias: taken off it: more sees less.
        end: operator at the end, such as Softmax.
        wants: mean and deviation of the pixels it takes.
    """
    mix = np.array([[0, 0, 0], [1, -0.5, -0.5], [-0.5, 1, -0.5]], np.float32) * sharp
    weights = (mix[..., None, None] * wants[1] / 9 * np.ones((1, 1, 3, 3))).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "weights", "bias"], ["logits" if end else "maps"], pads=[1, 1, 1, 1]),
        *([helper.make_node(end, ["logits"], ["maps"], axis=1)] if end else []),
    ]
    graph = helper.make_graph(
        nodes,
        "user",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array([0, -bias, -bias], np.float32), "bias")],
    )
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def plates(folder: Path, count: int, seed: int, *, painted: bool = True, size: tuple[int, int] = (SIDE, SIDE)) -> Path:
    """Write pictures with up to two coloured rectangles, from faint to plain, and a mask of indices for each."""
    random = np.random.default_rng(seed)
    for part in ("images", "masks") if painted else ("images",):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        frame, mask = random.integers(80, 110, (*size, 3)), np.zeros(size, np.uint8)
        for _ in range(int(random.integers(0, 3))):
            kind, row, column = int(random.integers(1, 3)), int(random.integers(0, size[0] - 12)), int(random.integers(0, size[1] - 12))
            area = (slice(row, row + 12), slice(column, column + 12))
            frame[(*area, kind - 1)] = np.minimum(frame[(*area, kind - 1)] + int(random.integers(15, 90)), 255)
            mask[area] = kind
        Image.fromarray(frame.astype(np.uint8)).save(folder / "images" / f"{index:04d}.png", compress_level=1)
        if painted:
            Image.fromarray(mask, mode="L").save(folder / "masks" / f"{index:04d}.png")
    return folder
