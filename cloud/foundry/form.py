"""The form that every ONNX file of a release has, whoever made it: names of its ends, version of operators, an IR for old runtimes."""

from __future__ import annotations

import onnx

OPSET = 17
HIGHEST_IR = 8
"""ONNX Runtime 1.14 of early 2023 and everything later reads IR 8."""
INPUT, OUTPUT = "pictures", "logits"


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
