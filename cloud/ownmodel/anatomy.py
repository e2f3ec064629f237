"""What an ONNX graph is: inputs, outputs, operators, and what devices and signer would not take of it. Pure: a parsed graph in.

Here: reading only. Not here: changing a graph (surgery), opening files (modelfile).

A dimension is a number, or a name where it is free.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
import numpy as np
import onnx

from cloud.graph import OPERATORS as SIGNED
from shared.engines.admission import OPERATORS as ADMITTED

STANDARD = frozenset({"", "ai.onnx"})
QUANTISED = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"})
Dimension = int | str


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """One input or output: its name, element type (onnx's name) and dimensions; none where the graph does not tell its rank."""

    name: str
    kind: str
    shape: tuple[Dimension, ...] | None

    @property
    def words(self) -> str:
        """The port as people read it: `pictures: FLOAT [batch, 3, 224, 224]`."""
        shape = "of unknown shape" if self.shape is None else f"[{', '.join(str(one) for one in self.shape)}]"
        return f"{self.name}: {self.kind} {shape}"


class Anatomy(msgspec.Struct, frozen=True, kw_only=True):
    """A graph in figures. `operators` counts nodes by operator; `foreign` are those that devices or the signer refuse."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    opset: int
    ir: int
    operators: dict[str, int]
    foreign: tuple[str, ...]
    parameters: int
    quantised: bool
    maker: str


def read(model: onnx.ModelProto) -> Anatomy:
    """Return what a model is.

    Args:
        model: with its weights inside and its functions written out.
    """
    weights = {one.name for one in model.graph.initializer}
    counts = Counter(node.op_type for node in model.graph.node)
    return Anatomy(
        inputs=ports(one for one in model.graph.input if one.name not in weights),
        outputs=ports(model.graph.output),
        opset=opset(model),
        ir=model.ir_version,
        operators=dict(sorted(counts.items(), key=lambda one: (-one[1], one[0]))),
        foreign=foreign(model),
        parameters=sum(int(np.prod(one.dims)) for one in model.graph.initializer),
        quantised=any(name in QUANTISED for name in counts),
        maker=f"{model.producer_name} {model.producer_version}".strip(),
    )


def opset(model: onnx.ModelProto) -> int:
    """Return the version of the standard operators, 0 where it says none."""
    return max((one.version for one in model.opset_import if one.domain in STANDARD), default=0)


def foreign(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return the operators that the devices' admission or the signer refuses, as `domain:operator`; control flow is among them."""
    found = set()
    for node in model.graph.node:
        if node.domain not in STANDARD:
            found.add(f"{node.domain}:{node.op_type}")
        elif node.op_type not in ADMITTED or node.op_type not in SIGNED:
            found.add(node.op_type)
    return tuple(sorted(found))


def ports(values: Iterable[onnx.ValueInfoProto]) -> tuple[Port, ...]:
    """Return inputs or outputs as ports."""
    return tuple(Port(name=one.name, kind=_kind(one), shape=_shape(one)) for one in values)


def task_of(shape: tuple[Dimension, ...] | None) -> str:
    """Return the task that an output of this shape belongs to, "" where none of ours gives such an output.

    (N, classes), also with sides of 1 behind, is classification; (N, boxes, values) or (N, values, boxes) detection; (N, classes, rows,
    columns) segmentation.
    """
    if shape is None or len(shape) < 2:
        return ""
    if len(shape) == 2 or set(shape[2:]) == {1}:
        return "classification"
    return {3: "detection", 4: "segmentation"}.get(len(shape), "")


def _kind(value: onnx.ValueInfoProto) -> str:
    return str(onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type))


def _shape(value: onnx.ValueInfoProto) -> tuple[Dimension, ...] | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(one.dim_value if one.HasField("dim_value") and one.dim_value > 0 else one.dim_param or "?" for one in tensor.shape.dim)
