"""An ONNX graph taken apart into nodes and constants and put together again. Pure; field numbers of onnx.proto, ONNX 1.17.

Not here: what may be in a graph (`admission`, which every file passes first) and what is changed in it (`quantised`).
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from shared.engines.fields import field, fields, integers, message
from shared.errors import EngineError

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT = 1, 3
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_FLOAT_DATA, _INT32_DATA = 4, 5
_TYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 2: np.dtype("u1"), 3: np.dtype("i1"), 6: np.dtype("<i4")}
_NUMBERS = {dtype: number for number, dtype in _TYPES.items()}
Array = np.ndarray[tuple[int, ...], np.dtype[Any]]


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A node: operator, names of inputs and outputs, its integer attributes by name, and its bytes as they stood."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: dict[str, int] = {}
    raw: bytes = b""


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """A model: nodes in order, constants by name, and every other field of graph and model as it stood."""

    nodes: tuple[Node, ...]
    constants: dict[str, bytes]
    rest: tuple[bytes, ...]
    model_rest: tuple[bytes, ...]

    def constant(self, name: str) -> Array | None:
        """Return a constant's values, None when there is none of that name or its type is not one of quantisation's."""
        raw = self.constants.get(name)
        return None if raw is None else _values(memoryview(raw))


def read(model: bytes) -> Graph:
    """Take a model apart.

    Raises:
        EngineError: the bytes are no ONNX model.
    """
    model_rest, graphs = [], []
    for number, value in fields(memoryview(model)):
        if number == _MODEL_GRAPH:
            graphs.append(message(value))
        else:
            model_rest.append(field(number, value))
    if len(graphs) != 1:
        raise EngineError("the file is no ONNX model.", "Check that it was copied completely.")
    nodes, constants, rest = [], {}, []
    for number, value in fields(graphs[0]):
        if number == _GRAPH_NODE:
            nodes.append(_node(message(value)))
        elif number == _GRAPH_INITIALIZER:
            constants[_name(message(value))] = bytes(message(value))
        else:
            rest.append(field(number, value))
    return Graph(nodes=tuple(nodes), constants=constants, rest=tuple(rest), model_rest=tuple(model_rest))


def write(graph: Graph) -> bytes:
    """Put a model together."""
    parts = [*(field(_GRAPH_NODE, _node_bytes(node)) for node in graph.nodes), *graph.rest]
    parts += [field(_GRAPH_INITIALIZER, raw) for raw in graph.constants.values()]
    return b"".join(graph.model_rest) + field(_MODEL_GRAPH, b"".join(parts))


def tensor(name: str, values: Array) -> bytes:
    """Return a constant as it is written; float32, int8, uint8 or int32."""
    dims = b"".join(field(_TENSOR_DIMS, side) for side in values.shape)
    kind = field(_TENSOR_TYPE, _NUMBERS[values.dtype.newbyteorder("<")])
    return dims + kind + field(_TENSOR_NAME, name.encode()) + field(_TENSOR_RAW, np.ascontiguousarray(values).tobytes())


def _node_bytes(node: Node) -> bytes:
    if node.raw:
        return node.raw
    names = [field(_NODE_INPUT, name.encode()) for name in node.inputs] + [field(_NODE_OUTPUT, name.encode()) for name in node.outputs]
    return b"".join(names) + field(_NODE_OPERATOR, node.operator.encode())


def _node(raw: memoryview) -> Node:
    inputs, outputs, operator, numbers = [], [], "", {}
    for number, value in fields(raw):
        if number == _NODE_INPUT:
            inputs.append(_text(value))
        elif number == _NODE_OUTPUT:
            outputs.append(_text(value))
        elif number == _NODE_OPERATOR:
            operator = _text(value)
        elif number == _NODE_ATTRIBUTE:
            numbers.update(_number(message(value)))
    return Node(operator=operator, inputs=tuple(inputs), outputs=tuple(outputs), numbers=numbers, raw=bytes(raw))


def _number(attribute: memoryview) -> dict[str, int]:
    found = dict(fields(attribute))
    value = found.get(_ATTRIBUTE_INT)
    return {_text(found.get(_ATTRIBUTE_NAME, memoryview(b""))): value} if isinstance(value, int) else {}


def _values(raw: memoryview) -> Array | None:
    """Read a constant, whichever of the three ways its values are kept in: raw bytes, a list of floats, a list of integers."""
    found: dict[int, list[int]] = {_TENSOR_DIMS: [], _INT32_DATA: []}
    kind, data = 0, b""
    for number, value in fields(raw):
        if number in found:
            found[number] += [value] if isinstance(value, int) else integers(value)
        elif number == _TENSOR_TYPE and isinstance(value, int):
            kind = value
        elif number in (_TENSOR_RAW, _FLOAT_DATA):
            data += bytes(message(value))
    dtype, dims = _TYPES.get(kind), found[_TENSOR_DIMS]
    if dtype is None:
        return None
    listed = found[_INT32_DATA]
    values = np.array(listed, np.int64).astype(dtype) if listed else np.frombuffer(data, dtype) if len(data) % dtype.itemsize == 0 else None
    return values.reshape(dims) if values is not None and values.size == math.prod(dims) else None


def _name(raw: memoryview) -> str:
    return next((_text(value) for number, value in fields(raw) if number == _TENSOR_NAME), "")


def _text(value: int | memoryview) -> str:
    return bytes(message(value)).decode("utf-8", "replace")
