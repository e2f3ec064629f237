"""Small real ONNX models for tests of engines and of what runs on them."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def linear(weights: Any, *, size: int = 8, bias: Any = None, domain: str = "", operator: str = "Gemm", opset: int = 17) -> bytes:
    """Return the bytes of a classifier that averages each channel and multiplies by `weights` (3, C)."""
    weights = np.asarray(weights, np.float32)
    bias = np.zeros(weights.shape[1], np.float32) if bias is None else np.asarray(bias, np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node(operator, ["flat", "w", "b"], ["logits"], domain=domain),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", weights.shape[1]])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")],
    )
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def external(model_bytes: bytes) -> bytes:
    """Return the model with its first weight claimed to lie in another file."""
    model = onnx.load_from_string(model_bytes)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return model.SerializeToString()
