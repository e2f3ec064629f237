"""Functions that an exporter left in a model, written out, since devices refuse files with functions.

Not where a function calls itself, nor where functions call each other until more than MOST_NODES nodes come of a few lines: both are
counted before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import inliner

from shared.errors import EngineError

MOST_NODES = 100_000
REMEDY = "Export it again with its functions inlined."


def written_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model without functions.

    Raises:
        EngineError: they cannot be written out, or would be far too long.
    """
    if not model.functions:
        return model
    try:
        nodes = expanded(model)
        if nodes > MOST_NODES:
            raise EngineError(f"the model's functions write out to more than {MOST_NODES} nodes.", REMEDY)
        return inliner.inline_local_functions(model)
    except (RecursionError, RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        words = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise EngineError(f"the model's functions cannot be written out: {words}.", REMEDY) from error


def expanded(model: onnx.ModelProto) -> int:
    """Return how many nodes a model has once its functions are written out.

    Raises:
        RecursionError: a function calls itself, or calls go a thousand deep.
    """
    bodies = {(one.domain, one.name): one.node for one in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    running: set[tuple[str, str]] = set()

    def size(name: tuple[str, str]) -> int:
        if name in running:
            raise RecursionError(f"the function {name[1]} calls itself")
        if name not in sizes:
            running.add(name)
            sizes[name] = count(bodies[name])
            running.remove(name)
        return sizes[name]

    def count(nodes: Iterable[onnx.NodeProto]) -> int:
        total = 0
        for node in nodes:
            name = (node.domain, node.op_type)
            total += size(name) if name in bodies else 1
            total += sum(count(graph.node) for one in node.attribute for graph in (one.g, *one.graphs))
        return total

    return count(model.graph.node)
