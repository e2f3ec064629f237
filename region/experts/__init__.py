"""The experts: what answers hard cases. One implementation: onnx (ONNX Runtime through shared.engines)."""
