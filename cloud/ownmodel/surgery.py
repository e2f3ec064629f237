"""Gives a graph the one form that devices run: float32 RGB in, NCHW, any batch; raw scores out. Pure: a graph in, a graph out.

Rules, in order:
1. One output is kept, with the nodes that lead to it: the one that is named, else the only one that fits the task.
2. One input of 1 or 3 channels. Channels that stand last, blue first, or a single grey one get nodes in front that make them of RGB.
3. Rows and columns are fixed: the graph's own, or those that are given.
4. A batch that the export fixed is freed. Whether frames stay apart in it is tried later, by running it.
5. The last softmax or sigmoid of a classifier or segmenter goes (ranking by the margin of logits is better than by probabilities); a
   classifier's single score, of what is or is not there, becomes two logits.

Anything else is refused with what to do about it.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cloud.foundry.form import INPUT, OUTPUT
from cloud.ownmodel.anatomy import Port, ports, task_of
from shared.errors import EngineError, InputError
from shared.vision.fit import STRETCH

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601: grey of red, green and blue."""
SQUASHING = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
BATCH = "batch"
LARGEST_SIDE = 4096
"""Pixels of an input's side: a batch of one is then 200 MB."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the user says of the graph: task, output ("" for the only fitting one), size in pixels (0: its own), order of colours.

    `fit` is how frames of another shape are brought in; the graph does not change by it.
    """

    task: str = "classification"
    output: str = ""
    width: int = 0
    height: int = 0
    bgr: bool = False
    fit: str = STRETCH


class Adapted(msgspec.Struct, frozen=True, kw_only=True):
    """A graph in the devices' form, its input's size in pixels, and what was changed, in words."""

    model: onnx.ModelProto
    width: int
    height: int
    changes: tuple[str, ...]


def adapted(given: onnx.ModelProto, wanted: Wanted) -> Adapted:
    """Return a model in the devices' form.

    Args:
        given: with its weights inside; it is not changed.
        wanted: what the user says.

    Raises:
        EngineError: the graph is of a kind that cannot be read; says why.
        InputError: what the user says does not fit the graph.
    """
    model = onnx.ModelProto()
    model.CopyFrom(given)
    changes: list[str] = []
    entry = _entry(model)
    leave = _leave(model, wanted, changes)
    last, width, height = _layout(entry, wanted)
    _free_batch(model, entry, changes)
    if wanted.task == "classification":
        leave = _bare(model, leave, changes)
    elif wanted.task == "segmentation":
        leave = _unsquashed(model, leave, changes)
    _keep(model, leave)
    front = _Front(last=last, bgr=wanted.bgr, channels=_channels(entry, last=last), width=width, height=height)
    changes += _rewire(model, entry, leave, front)
    return Adapted(model=model, width=width, height=height, changes=tuple(changes))


def alone(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model in the devices' form that takes one picture, so that shapes that are worked out as it runs become constants."""
    single = onnx.ModelProto()
    single.CopyFrom(model)
    for port in (*single.graph.input, *single.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 1
    return single


def freed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model of one picture as one of any batch; the way back of `alone`."""
    free = onnx.ModelProto()
    free.CopyFrom(model)
    _free_batch(free, ports(free.graph.input)[0], [])
    free.graph.input[0].type.tensor_type.shape.dim[0].dim_param = BATCH
    del free.graph.output[:]
    free.graph.output.append(_answered(free))
    return free


class _Front(msgspec.Struct, frozen=True, kw_only=True):
    """What has to stand in front of the graph."""

    last: bool
    bgr: bool
    channels: int
    width: int
    height: int


def _entry(model: onnx.ModelProto) -> Port:
    """Return the input (rule 2); weights that old exporters list as inputs are none."""
    weights = {one.name for one in model.graph.initializer}
    own = [one for one in model.graph.input if one.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(own)
    found = ports(own)
    words = "; ".join(one.words for one in found)
    if len(found) != 1 or found[0].shape is None or len(found[0].shape) != 4:
        raise EngineError(f"the model's inputs are {words or 'none'}.", "Export it with one input of pictures: (batch, 3, height, width).")
    if found[0].kind != "FLOAT":
        raise EngineError(f"the model takes {words}.", "Export it with float32 input and weights, without its own decoding of pictures.")
    return found[0]


def _leave(model: onnx.ModelProto, wanted: Wanted, changes: list[str]) -> Port:
    """Return the output to keep (rule 1)."""
    found = _outputs(model)
    words = "; ".join(one.words for one in found)
    if wanted.output:
        named = [one for one in found if one.name == wanted.output]
        if not named:
            raise InputError(f"the model has no output {wanted.output!r}; it has {words}.", "Name one of them with --output.")
        fitting = named
    else:
        fitting = [one for one in found if task_of(one.shape) == wanted.task]
    if len(found) == 1 and found[0].shape is None:
        fitting = list(found)  # what it gives is tried by running it
    if len(fitting) != 1:
        raise EngineError(f"the model's outputs are {words}: {_which(fitting, found, wanted.task)}", _remedy(fitting, found))
    if len(found) > 1:
        changes.append(f"kept the output {fitting[0].name} of {len(found)}")
    return fitting[0]


def _outputs(model: onnx.ModelProto) -> tuple[Port, ...]:
    """Return the outputs with the shapes that follow from the graph."""
    try:
        return ports(onnx.shape_inference.infer_shapes(model).graph.output)
    except Exception as error:  # the inference raises a class of its own, and RuntimeError
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise EngineError(f"the graph's shapes contradict each other: {lines[0][:200]}", "Export the model again.") from error


def _which(fitting: list[Port], found: tuple[Port, ...], task: str) -> str:
    if fitting:
        return f"{len(fitting)} of them could be for {task}."
    other = sorted({task_of(one.shape) for one in found} - {""})
    return f"none is for {task}" + (f", they look like {' and '.join(other)}." if other else ".")


def _remedy(fitting: list[Port], found: tuple[Port, ...]) -> str:
    if fitting:
        return f"Name one with --output, such as --output {fitting[0].name}."
    other = next((task for one in found if (task := task_of(one.shape))), "")
    return f"Say --task {other}." if other else "Export it without what comes after the network, such as suppression of boxes."


def _layout(entry: Port, wanted: Wanted) -> tuple[bool, int, int]:
    """Return whether channels stand last, and width and height in pixels (rules 2 and 3)."""
    shape = entry.shape or ()
    last = shape[1] not in {1, 3} and shape[3] in {1, 3}
    if not last and shape[1] not in {1, 3} and isinstance(shape[1], int):
        raise EngineError(f"the model takes {entry.words}, which are no pictures of 1 or 3 channels.", "Export it for RGB or grey.")
    rows, columns = (shape[1], shape[2]) if last else (shape[2], shape[3])
    height, width = _side(rows, wanted.height, "height"), _side(columns, wanted.width, "width")
    return last, width, height


def _side(own: int | str, given: int, name: str) -> int:
    if isinstance(own, int):
        if not 1 <= own <= LARGEST_SIDE:
            raise EngineError(f"the model's {name} is {own} pixels, a device's is 1 to {LARGEST_SIDE}.", "Export it for smaller pictures.")
        if given not in {0, own}:
            raise InputError(f"the model's {name} is fixed at {own} pixels, not {given}.", "Leave --size out.")
        return own
    if not given:
        raise InputError(f"the model's {name} is free.", "Say which size devices shall use: --size WIDTHxHEIGHT, such as --size 224x224.")
    return given


def _channels(entry: Port, *, last: bool) -> int:
    own = (entry.shape or (0, 3, 0, 3))[3 if last else 1]
    return own if isinstance(own, int) else 3


def _free_batch(model: onnx.ModelProto, entry: Port, changes: list[str]) -> None:
    """Free the batch (rule 4): of the input, and in the constant shapes that name it."""
    fixed = (entry.shape or ("?",))[0]
    del model.graph.value_info[:]
    if not isinstance(fixed, int):
        return
    reshapes = [node for node in model.graph.node if node.op_type == "Reshape" and len(node.input) > 1]
    named = {node.input[1] for node in reshapes}
    for node in reshapes:
        kept = [one for one in node.attribute if one.name != "allowzero"]  # a 0 is to mean "as in the input"; empty pictures there are none
        del node.attribute[:]
        node.attribute.extend(kept)
    for tensor in [one for one in model.graph.initializer if one.name in named]:
        _free_shape(tensor, fixed)
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output[0] in named:
            for attribute in node.attribute:
                _free_shape(attribute.t, fixed)
    changes.append(f"freed the batch, which was fixed at {fixed}")


def _free_shape(tensor: onnx.TensorProto, fixed: int) -> None:
    """Let a constant shape that begins with the batch copy it from its input (0, in Reshape)."""
    values = numpy_helper.to_array(tensor)
    if values.dtype == np.int64 and values.ndim == 1 and len(values) > 1 and values[0] == fixed:
        tensor.CopyFrom(numpy_helper.from_array(np.concatenate([np.zeros(1, np.int64), values[1:]]), tensor.name))


def _bare(model: onnx.ModelProto, leave: Port, changes: list[str]) -> Port:
    """Return the output without what squashes it, as (N, classes), two logits for a single score (rule 5)."""
    name, shape = _unsquashed(model, leave, changes).name, leave.shape
    if shape is not None and len(shape) > 2:
        model.graph.node.append(helper.make_node("Flatten", [name], [f"{name}/flat"], axis=1))
        name = f"{name}/flat"
    if shape is not None and shape[1] == 1:
        name = _two_logits(model, name)
        changes.append("made two logits of the single score: of the first class 0, of the second the score")
    return Port(name=name, kind=leave.kind, shape=None)


def _unsquashed(model: onnx.ModelProto, leave: Port, changes: list[str]) -> Port:
    """Return the output as it is before it is squashed."""
    makers = {name: node for node in model.graph.node for name in node.output}
    name, node = leave.name, makers.get(leave.name)
    while node is not None and node.op_type in SQUASHING | {"Identity"}:
        if node.op_type in SQUASHING:
            changes.append(f"took the last {node.op_type} off")
        name, node = node.input[0], makers.get(node.input[0])
    return Port(name=name, kind=leave.kind, shape=leave.shape)


def _two_logits(model: onnx.ModelProto, name: str) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), f"{name}/zero"))
    model.graph.node.extend(
        [
            helper.make_node("Mul", [name, f"{name}/zero"], [f"{name}/none"]),
            helper.make_node("Concat", [f"{name}/none", name], [f"{name}/two"], axis=1),
        ]
    )
    return f"{name}/two"


def _keep(model: onnx.ModelProto, leave: Port) -> None:
    """Delete the nodes and weights that do not lead to the output."""
    wanted, nodes = {leave.name}, []
    for node in reversed(_copied(model)):
        if wanted & set(node.output):
            nodes.append(node)
            wanted |= set(node.input)
    weights = [one for one in model.graph.initializer if one.name in wanted]
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    del model.graph.initializer[:]
    model.graph.initializer.extend(weights)
    del model.graph.output[:]


def _copied(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return copies of the nodes as they stand, each after those it needs; the graph's own go when it is emptied."""
    nodes = []
    for node in model.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        nodes.append(copy)
    return nodes


def _rewire(model: onnx.ModelProto, entry: Port, leave: Port, front: _Front) -> list[str]:
    """Put the front before the graph and name its ends as the foundry names them (rule 2); returns what that changed."""
    nodes, weights, changed = _front_nodes(front)
    renamed = {entry.name: nodes[-1].output[0] if nodes else INPUT, leave.name: OUTPUT}
    taken = {INPUT, OUTPUT, *(name for node in nodes for name in node.output), *(one.name for one in weights)} - {entry.name, leave.name}
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, f"{name}/own" if name in taken else name) for name in names]
    for tensor in model.graph.initializer:
        tensor.name = f"{tensor.name}/own" if tensor.name in taken else tensor.name
    own = [*nodes, *_copied(model)]
    del model.graph.node[:]
    model.graph.node.extend(own)
    model.graph.initializer.extend(weights)
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [BATCH, 3, front.height, front.width]))
    model.graph.output.append(_answered(model))
    return changed


def _answered(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    """Return the output with the shape that follows from the graph; (batch, scores) where none does."""
    model.graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, None))
    (found,) = _outputs(model)
    del model.graph.output[:]
    shape = [BATCH, "scores"] if found.shape is None else [BATCH, *found.shape[1:]]
    return helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape)


def _front_nodes(front: _Front) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto], list[str]]:
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    changed: list[str] = []
    name = INPUT

    def put(operator: str, more: tuple[str, ...] = (), **attributes: Any) -> None:
        nonlocal name
        after = f"terrace/{operator}"
        nodes.append(helper.make_node(operator, [name, *more], [after], **attributes))
        name = after

    if front.channels == 1:
        weights.append(numpy_helper.from_array(np.array(LUMA, np.float32).reshape(1, 3, 1, 1), "terrace/luma"))
        put("Conv", ("terrace/luma",))
        changed.append("makes grey of RGB in front")
    elif front.bgr:
        weights.append(numpy_helper.from_array(np.array([2, 1, 0], np.int64), "terrace/order"))
        put("Gather", ("terrace/order",), axis=1)
        changed.append("turns RGB into BGR in front")
    if front.last:
        put("Transpose", perm=[0, 2, 3, 1])
        changed.append("puts the channels last in front")
    return nodes, weights, changed
