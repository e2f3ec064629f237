"""From a torch model to ONNX: batch norm folded into the convolutions, any batch size, an IR that old runtimes read.

The TorchScript exporter (`dynamo=False`) is used because the other one needs packages more and writes a later IR.
"""

from __future__ import annotations

import copy
import io
import warnings

import onnx
import torch
from torch import nn

OPSET = 17
HIGHEST_IR = 8
"""ONNX Runtime 1.14 of early 2023 and everything later reads IR 8."""
INPUT, OUTPUT = "pictures", "logits"


def to_onnx(model: nn.Module, *, side: int) -> bytes:
    """Return a model as ONNX bytes that depend on its weights alone.

    Args:
        model: a network from shared.learning.architectures; it is not changed.
        side: pixels along the side of its pictures.
    """
    still = copy.deepcopy(model).cpu().to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]  # stub
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter says at every call that another one is the default now
        torch.onnx.export(
            still,
            (torch.zeros(1, 3, side, side),),
            buffer,  # type: ignore[arg-type]  # the stub misses files
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
    return normalised(buffer.getvalue())


def normalised(data: bytes) -> bytes:
    """Return a model without the traces of how it was made (producer, notes, unused operator sets) and with an IR of at most 8."""
    model = onnx.load_model_from_string(data)
    model.ir_version = min(model.ir_version, HIGHEST_IR)
    model.producer_name, model.producer_version, model.doc_string = "terrace", "", ""
    del model.metadata_props[:]
    used = {node.domain for node in model.graph.node}
    kept = [one for one in model.opset_import if one.domain in {"", *used}]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    for node in model.graph.node:
        node.doc_string = ""
        if hasattr(node, "metadata_props"):
            del node.metadata_props[:]
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
