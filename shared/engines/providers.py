"""What ONNX Runtime's execution providers are told, by provider. Pure.

Rules, in order:
1. The same frames give the same answers: no TF32 (its 10-bit mantissa changes logits), the CUDA provider's convolutions are chosen by
   heuristic and not by timing.
2. The TensorRT provider builds for the release's precision and keeps no engines on disk: it would load them back without a check of
   where they came from (the native engine's cache, `plans`, has one).
3. DirectML needs sequential execution without memory patterns (ONNX Runtime's documentation of that provider).
"""

from __future__ import annotations

CPU, CUDA, TENSORRT, DIRECTML = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt", "Dml"))


def provider_options(provider: str, precision: str) -> dict[str, str]:
    """Return the options of one provider.

    Args:
        provider: ONNX Runtime's name for it.
        precision: fp32, fp16 or int8.
    """
    if provider == CUDA:
        return {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC", "do_copy_in_default_stream": "1"}
    if provider == TENSORRT:
        return {
            "trt_fp16_enable": "1" if precision in ("fp16", "int8") else "0",
            "trt_int8_enable": "1" if precision == "int8" else "0",
            "trt_engine_cache_enable": "0",
            "trt_timing_cache_enable": "0",
        }
    return {}


def needs_memory_pattern_off(providers: tuple[str, ...]) -> bool:
    """Tell whether memory patterns must be off for one of the providers."""
    return DIRECTML in providers
