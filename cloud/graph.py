"""What a model file may contain: operators of an allow-list, no custom domains, no data outside the file.

Checked by the signing process, so that a device never loads a graph nobody meant to allow.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no types

from shared.errors import TrustError

DOMAINS = {"", "ai.onnx"}
HIGHEST_IR = 9
"""The oldest runtime in the fleet reads this."""
# fmt: off
OPERATORS = frozenset((
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv", "ConvTranspose",
    "DequantizeLinear", "Div", "Erf", "Exp", "Expand", "Flatten", "Gather", "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool",
    "HardSigmoid", "HardSwish", "Identity", "LayerNormalization", "LeakyRelu", "Log", "MatMul", "Max", "MaxPool", "Min", "Mul", "Pad",
    "Pow", "PRelu", "QLinearConv", "QLinearMatMul", "QuantizeLinear", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceSum", "Relu",
    "Reshape", "Resize", "Shape", "Sigmoid", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze",
))
# fmt: on


def check(model: bytes) -> None:
    """Refuse a model that asks for more than inference on its own bytes.

    Args:
        model: an ONNX file.

    Raises:
        TrustError: not ONNX, a foreign operator or domain, external data, functions or sub-graphs of its own, or too new an IR.
    """
    graph = parsed(model)
    if graph.ir_version > HIGHEST_IR:
        raise TrustError(f"the model has IR version {graph.ir_version}; the fleet reads up to {HIGHEST_IR}.")
    if graph.functions:
        raise TrustError("the model defines functions of its own.")
    foreign = sorted({f"{node.domain}:{node.op_type}" for node in graph.graph.node if not _is_allowed(node)})
    if foreign:
        raise TrustError(f"the model uses operators that are not allowed: {', '.join(foreign)[:200]}.")
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(graph.graph)):
        raise TrustError("the model keeps data outside its file.")


def parsed(model: bytes) -> onnx.ModelProto:
    """Return a model file as a graph, not yet believed.

    Raises:
        TrustError: not ONNX.
    """
    try:
        return onnx.load_model_from_string(model)
    except (DecodeError, ValueError) as error:
        raise TrustError(f"the model is not an ONNX file: {error}.") from None


def _is_allowed(node: onnx.NodeProto) -> bool:
    nested = any(attribute.type in {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS} for attribute in node.attribute)
    return node.domain in DOMAINS and node.op_type in OPERATORS and not nested


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
