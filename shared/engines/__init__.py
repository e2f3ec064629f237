"""Inference engines behind one Protocol: ONNX Runtime and TensorRT, each in its own file."""
