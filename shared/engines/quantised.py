"""A quantised model (static Q/DQ) rewritten for engines that want it otherwise: without quantisation, or with signed symmetric INT8. Pure.

Rules, in order:
1. A constant behind DequantizeLinear becomes what it stands for, `(q - zero) * scale` (ONNX operator DequantizeLinear, opset 13).
2. A pair QuantizeLinear, DequantizeLinear on an activation rounds and clips. `plain` drops it; a quantiser that had folded a Relu into
   the pair (lowest value 0, behind a node that computes) gets its Relu back.
3. `signed` keeps the pair as int8 with zero point 0 and the scale that covers the same range, `max(|low|, |high|) / 127`, as TensorRT
   demands: one bit is lost where the range was one-sided. Weights stay INT8 where they are symmetric already.
4. What is quantised in another way (QLinearConv, dynamic) is refused.

So the answers are those of the model up to rounding, never the model's exactly: the self-test of a card decides whether they will do.
"""

from __future__ import annotations

import msgspec
import numpy as np

from shared.engines import graph as graphs
from shared.engines.graph import Array, Graph, Node
from shared.errors import EngineError

QUANTISE, DEQUANTISE = "QuantizeLinear", "DequantizeLinear"
COMPUTES = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul", "BatchNormalization"})
VERSION = 1
"""Counts up when the rewriting changes: it is part of a built engine's name."""


def is_quantised(model: bytes) -> bool:
    """Tell whether a model has quantised activations."""
    return any(node.operator == QUANTISE for node in graphs.read(model).nodes)


def is_signed(model: bytes) -> bool:
    """Tell whether every quantised activation is int8 with zero point 0."""
    graph = graphs.read(model)
    zeros = [graph.constant(node.inputs[2]) if len(node.inputs) > 2 else None for node in graph.nodes if node.operator == QUANTISE]
    return all(zero is not None and zero.dtype == np.int8 and not zero.any() for zero in zeros)


def prepared(model: bytes, precision: str) -> bytes:
    """Return the model as TensorRT takes it for a precision: signed INT8, or without quantisation; as it is where it is so already.

    Raises:
        EngineError: it is quantised in a way that is not known here.
    """
    if not is_quantised(model):
        return model
    if precision != "int8":
        return plain(model)
    return model if is_signed(model) else signed(model)


def plain(model: bytes) -> bytes:
    """Return the model without quantisation, in float32.

    Raises:
        EngineError: it is quantised in a way that is not known here.
    """
    return _rewritten(model, keep=False)


def signed(model: bytes) -> bytes:
    """Return the model with signed symmetric INT8.

    Raises:
        EngineError: it is quantised in a way that is not known here.
    """
    return _rewritten(model, keep=True)


class _Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A quantisation of an activation: where it comes from, its range, and whether a Relu is hidden in it."""

    source: str
    low: float
    high: float
    has_relu: bool


def _rewritten(model: bytes, *, keep: bool) -> bytes:
    try:
        graph = graphs.read(model)
        makers = {output: node for node in graph.nodes for output in node.outputs}
        nodes: list[Node] = []
        constants = dict(graph.constants)
        for node in graph.nodes:
            nodes += _instead_of(node, graph, makers, constants, keep=keep)
        return graphs.write(msgspec.structs.replace(graph, nodes=tuple(nodes), constants=_used(nodes, constants)))
    except (IndexError, ValueError, OverflowError) as error:  # a node without its inputs, a scale of another shape
        raise EngineError(f"the model's quantisation cannot be understood: {error}.", "Export it with static Q/DQ quantisation.") from error


def _instead_of(node: Node, graph: Graph, makers: dict[str, Node], constants: dict[str, bytes], *, keep: bool) -> list[Node]:
    """Return the nodes that stand in a node's place, adding the constants they need."""
    if node.operator == QUANTISE:
        return []  # goes with its DequantizeLinear
    if node.operator != DEQUANTISE:
        _refuse_quantised_inputs(node, makers)
        return [node]
    values = graph.constant(node.inputs[0])
    if values is None:
        return _pair_nodes(_pair(graph, node, makers), node.outputs[0], constants, keep=keep)
    if keep and _is_symmetric_weight(graph, node, values):
        return [node]
    constants[node.outputs[0]] = graphs.tensor(node.outputs[0], _dequantised(graph, node, values))
    return []


def _pair_nodes(pair: _Pair, name: str, constants: dict[str, bytes], *, keep: bool) -> list[Node]:
    """Return the nodes that stand for a quantised activation called `name`, adding the constants they need."""
    if not keep:
        return [Node(operator="Relu" if pair.has_relu else "Identity", inputs=(pair.source,), outputs=(name,))]
    nodes, source = [], pair.source
    if pair.has_relu:
        source = f"{name}/relu"
        nodes.append(Node(operator="Relu", inputs=(pair.source,), outputs=(source,)))
    scale, zero, between = f"{name}/scale", f"{name}/zero", f"{name}/int8"
    largest = max(abs(pair.low), abs(pair.high)) / 127
    constants[scale] = graphs.tensor(scale, np.array(largest, np.float32))
    constants[zero] = graphs.tensor(zero, np.array(0, np.int8))
    nodes.append(Node(operator=QUANTISE, inputs=(source, scale, zero), outputs=(between,)))
    nodes.append(Node(operator=DEQUANTISE, inputs=(between, scale, zero), outputs=(name,)))
    return nodes


def _pair(graph: Graph, node: Node, makers: dict[str, Node]) -> _Pair:
    before = makers.get(node.inputs[0])
    if before is None or before.operator != QUANTISE:
        raise EngineError("the model is quantised in a way this engine does not know.", "Export it with static Q/DQ quantisation.")
    scale, zero = _scale_and_zero(graph, before)
    if scale.size != 1 or zero.dtype == np.int32:
        raise EngineError("an activation is quantised per channel, which this engine does not know.", "Quantise activations per tensor.")
    limits = np.iinfo(zero.dtype)  # uint8 or int8
    low, high = (float((limit - float(zero.reshape(-1)[0])) * scale.reshape(-1)[0]) for limit in (limits.min, limits.max))
    maker = makers.get(before.inputs[0])
    is_computed = maker is not None and maker.operator in COMPUTES
    return _Pair(source=before.inputs[0], low=low, high=high, has_relu=is_computed and low == 0.0)


def _dequantised(graph: Graph, node: Node, values: Array) -> Array:
    scale, zero = _scale_and_zero(graph, node)
    if scale.size > 1:
        axis = node.numbers.get("axis", 1)
        sides = [1] * values.ndim
        sides[axis] = -1
        scale, zero = scale.reshape(sides), zero.reshape(sides)
    return ((values.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)).astype(np.float32)


def _scale_and_zero(graph: Graph, node: Node) -> tuple[Array, Array]:
    scale = graph.constant(node.inputs[1])
    zero = graph.constant(node.inputs[2]) if len(node.inputs) > 2 else np.array(0, np.uint8)
    if scale is None or zero is None:
        raise EngineError("a scale of the model is no constant.", "Export it with static Q/DQ quantisation.")
    return scale, zero


def _is_symmetric_weight(graph: Graph, node: Node, values: Array) -> bool:
    _, zero = _scale_and_zero(graph, node)
    return values.dtype == np.int8 and not zero.any()


def _refuse_quantised_inputs(node: Node, makers: dict[str, Node]) -> None:
    if any(name in makers and makers[name].operator == QUANTISE for name in node.inputs):
        raise EngineError(f"the model computes on quantised values in {node.operator}.", "Export it with static Q/DQ quantisation.")


def _used(nodes: list[Node], constants: dict[str, bytes]) -> dict[str, bytes]:
    wanted = {name for node in nodes for name in node.inputs}
    return {name: raw for name, raw in constants.items() if name in wanted}
