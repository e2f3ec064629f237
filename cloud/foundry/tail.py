"""Which nodes of a graph come after its last convolutions: a detector's boxes and probabilities, a classifier's pooling and head. Pure."""

from __future__ import annotations

import onnx

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})


def after_convolutions(model: onnx.ModelProto) -> list[str]:
    """Return the names of the nodes from which no convolution is reached and which are none; nodes without a name are left out.

    Args:
        model: a graph whose nodes stand in the order they run, as ONNX demands.
    """
    awaited: set[str] = set()
    found = []
    for node in reversed(model.graph.node):
        if node.op_type in CONVOLUTIONS or awaited.intersection(node.output):
            awaited.update(node.input)
        else:
            found.append(node.name)
    return [name for name in reversed(found) if name]
