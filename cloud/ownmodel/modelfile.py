"""Opens an ONNX file that somebody brings along: weights beside it are taken in, functions written out, old operators renewed.

Rules, in order:
1. Weights in files beside the model (external data) become part of it; their paths may not lead out of its folder.
2. Functions that an exporter left in the file are written out, since devices refuse files with functions.
3. Operators older than OLDEST_OPSET (no quantisation by channel) or newer than NEWEST_OPSET (not in the oldest runtime of a fleet) are
   converted to form.OPSET. Operators that did not exist then are written out as their definition says (WRITTEN_OUT); options that did
   not exist go where they say what the operator does anyway.
"""

from __future__ import annotations

import ast
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf ships no types
from onnx import inliner, version_converter

from cloud.foundry.form import OPSET
from cloud.ownmodel.anatomy import opset
from cloud.ownmodel.inlining import written_out
from shared.engines.admission import LARGEST_MODEL_BYTES
from shared.errors import EngineError, InputError

OLDEST_OPSET = 13
NEWEST_OPSET = 18
WRITTEN_OUT = ("Gelu",)
"""Operators newer than form.OPSET that exporters use and the standard defines by older ones."""
EXPORT_AGAIN = f"Export it again with opset {OPSET} (torch.onnx.export(..., opset_version={OPSET}))."


def load(path: Path) -> onnx.ModelProto:
    """Read a model as it is, weights and all (rules 1 and 2).

    Raises:
        InputError: no such file, larger than a device takes, or weights that are missing beside it.
        EngineError: the file is no ONNX model.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"the model {path} cannot be read: {error.strerror}.", "Give the path of an .onnx file.") from error
    if size > LARGEST_MODEL_BYTES:
        raise InputError(f"the model {path} has {size} bytes, a device takes {LARGEST_MODEL_BYTES}.", "Export a smaller one.")
    try:
        model = onnx.load(str(path))
    except (DecodeError, ValueError) as error:
        raise EngineError(f"{path} is no ONNX model: {_line(error)}.", "Give a file that an exporter wrote.") from error
    except (OSError, MemoryError, OverflowError, onnx.checker.ValidationError) as error:
        raise InputError(f"the weights of {path} cannot be read: {_line(error)}.", "Keep the files of its weights beside it.") from error
    if not model.graph.node:
        raise EngineError(f"{path} is no ONNX model: its graph is empty.", "Check that it was copied completely.")
    return written_out(model)


def parts(path: Path) -> list[Path]:
    """Return the file and those of its weights that lie beside it.

    Raises:
        InputError: it cannot be read.
        EngineError: it is no ONNX model.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise EngineError(f"{path} is no ONNX model: {_line(error)}.", "Give a file that an exporter wrote.") from error
    except OSError as error:
        raise InputError(f"the model {path} cannot be read: {error.strerror}.", "Give the path of an .onnx file.") from error
    beside = {entry.value for one in model.graph.initializer for entry in one.external_data if entry.key == "location"}
    return [path, *sorted(found for name in beside if (found := path.parent / Path(name).name).is_file())]


def names(path: Path) -> tuple[str, ...]:
    """Return the class names that an exporter left in the file, in the model's order; none where it left none.

    Exporters of one-stage detectors write them as `{0: 'person', 1: 'bicycle'}` under `names`.

    Raises:
        InputError: it cannot be read.
        EngineError: it is no ONNX model.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
        found = ast.literal_eval(next((one.value for one in model.metadata_props if one.key == "names"), "{}"))
    except (DecodeError, OSError):
        load(path)  # says what is wrong with it
        raise
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    if not isinstance(found, dict) or len(set(map(str, found.values()))) != len(found) or set(found) != set(range(len(found))):
        return ()
    return tuple(str(found[index]) for index in range(len(found)))


def renewed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with operators of a version that the fleet's runtimes and the quantiser know (rule 3).

    Raises:
        EngineError: it cannot be converted.
    """
    if OLDEST_OPSET <= opset(model) <= NEWEST_OPSET:
        return model
    try:
        return _plain(version_converter.convert_version(_written_out(model), OPSET), newest=opset(model))
    except Exception as error:  # the converter raises RuntimeError, ValueError and its own
        message = f"the model uses operators of version {opset(model)}, which cannot be turned into version {OPSET}: {_line(error)}."
        raise EngineError(message, EXPORT_AGAIN) from error


def _written_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the operators of WRITTEN_OUT in terms of older ones that devices take."""
    used = {node.op_type for node in model.graph.node if not node.domain}
    names = [("", name) for name in WRITTEN_OUT if name in used]
    if not names:
        return model
    model = inliner.inline_selected_functions(model, names, inline_schema_functions=True)
    for node in model.graph.node:
        if node.op_type == "Sum" and len(node.input) == 2:  # the definitions add two numbers with it
            node.op_type = "Add"
    return model


def _plain(model: onnx.ModelProto, *, newest: int) -> onnx.ModelProto:
    """Take off options that the operators of form.OPSET do not have, where they say what is so without them."""
    for node in model.graph.node:
        if node.domain or not onnx.defs.has(node.op_type):
            continue
        known = onnx.defs.get_schema(node.op_type, OPSET).attributes
        usual = onnx.defs.get_schema(node.op_type, newest).attributes
        kept = [one for one in node.attribute if one.name in known or one.name not in usual or one != usual[one.name].default_value]
        del node.attribute[:]
        node.attribute.extend(kept)
    return model


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
