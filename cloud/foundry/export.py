"""From a torch model to ONNX: batch norm folded into the convolutions, any batch size, in the form of every file (see form).

The TorchScript exporter (`dynamo=False`) is used because the other one needs packages more and writes a later IR.
"""

from __future__ import annotations

import copy
import io
import warnings

import torch
from torch import nn

from cloud.foundry.form import INPUT, OPSET, OUTPUT, normalised


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
