"""Inference engines behind one Protocol: ONNX Runtime and TensorRT, each in its own file."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
"""ONNX Runtime's wheels report sessions to their maker over HTTPS unless this is set before the first import of it."""
