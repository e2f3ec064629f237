"""The four forms a network is released in, and the base and successor of each: what deltas are measured between.

frozen         INT8 with all scales of the base: only integers change
recalibrated   INT8 quantised anew, activations on pictures of both sites
fp16, fp32     floating point
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from cloud.foundry.quantise import quantise
from cloud.foundry.workbench import Workbench, digest
from shared.release.card import InputSpec
from tests.bench.deltas.trainings import SIDE, Site, Trainings

KINDS = ("frozen", "recalibrated", "fp16", "fp32")
SHOWN = 64
"""Calibration pictures."""
Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


class Forms:
    """The forms of one network's base and updates.

    Args:
        trainings: the network's.
        bench: keeps what takes long.
    """

    def __init__(self, trainings: Trainings, bench: Workbench) -> None:
        self._trainings = trainings
        self._bench = bench

    def pair(self, update: str, kind: str) -> tuple[bytes, bytes]:
        """Return the bytes of the base and of its successor after an update, in one of KINDS."""
        before, after = self._trainings.base() / "fp32.onnx", self._trainings.updated(update) / "fp32.onnx"
        if kind == "fp32":
            return before.read_bytes(), after.read_bytes()
        if kind == "fp16":
            return halved(before.read_bytes()), halved(after.read_bytes())
        base = self._int8(before, (0,))
        if kind == "frozen":
            return base, frozen(base, after.read_bytes())
        return base, self._int8(after, (0, 1))

    def _int8(self, model: Path, sites: tuple[int, ...]) -> bytes:
        def make(folder: Path) -> None:
            count = SHOWN // len(sites)
            shown = np.concatenate([Site(number, train=True).frames[:count] for number in sites])
            (folder / "int8.onnx").write_bytes(quantise(model.read_bytes(), shown, InputSpec(width=SIDE, height=SIDE)))

        return (self._bench.step("bench-delta-int8", digest(model) + repr(sites).encode(), make) / "int8.onnx").read_bytes()


def halved(model: bytes) -> bytes:
    """Return a model with its weights as float16; it serves for its bytes, not to be run."""
    proto = onnx.load_model_from_string(model)
    for one in proto.graph.initializer:
        if one.data_type == TensorProto.FLOAT:
            one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one).astype(np.float16), one.name))
    return bytes(proto.SerializeToString(deterministic=True))


def frozen(base: bytes, model: bytes) -> bytes:
    """Return the quantised base with the weights and biases of an FP32 model, rounded in the base's scales."""
    proto = onnx.load_model_from_string(base)
    known = {one.name: one for one in proto.graph.initializer}
    weights = {one.name: numpy_helper.to_array(one) for one in onnx.load_model_from_string(model).graph.initializer}
    for name, one in known.items():
        source = name.removesuffix("_quantized")
        if source == name:
            continue
        integers, values = numpy_helper.to_array(one), weights[source].astype(np.float64)
        scale = numpy_helper.to_array(known.get(f"{source}_scale") or known[f"{name}_scale"]).astype(np.float64)
        if scale.size > 1:
            scale = scale.reshape(_along(integers.shape, scale.size))
        limit = 64 if integers.dtype == np.int8 else np.iinfo(integers.dtype).max
        fitted = np.clip(np.rint(values / scale), -limit, limit).astype(integers.dtype)
        one.CopyFrom(numpy_helper.from_array(fitted, name))
    return bytes(proto.SerializeToString(deterministic=True))


def _along(shape: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return the shape in which one scale per channel multiplies: channels first, else last."""
    axis = 0 if shape[0] == count else len(shape) - 1
    return tuple(count if index == axis else 1 for index in range(len(shape)))
