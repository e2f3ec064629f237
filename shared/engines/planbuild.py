"""Builds a TensorRT plan from a model: parsing, precision, shapes, timing cache. Imports no TensorRT: `trt` hands its module in.

Rules, in order:
1. INT8 is what the model's Q/DQ nodes say, signed and symmetric; there is no calibration (TensorRT 11 has none any more).
2. FP16 is a flag of the builder. A TensorRT that has no such flag (11 builds what the model's own types say) refuses FP16 here.
3. One dynamic batch dimension, 1 to the largest batch, tuned for 1: a lone frame must not wait.
4. What was timed while building one model speeds up the next: the timing cache goes in and comes out.
"""

from __future__ import annotations

from typing import Any

from shared.errors import EngineError

FLAGS = {"fp16": ("FP16",), "int8": ("FP16", "INT8"), "fp32": ()}


class PlanBuilder:
    """Builds plans of one precision.

    Args:
        trt: the module `tensorrt`, 8.5 or later.
        logger: its logger.
        precision: fp32, fp16 or int8.
        largest_batch: frames in one run at most.
        workspace_bytes: scratch memory while building.
    """

    def __init__(self, trt: Any, logger: Any, *, precision: str, largest_batch: int, workspace_bytes: int) -> None:
        self._trt = trt
        self._logger = logger
        self._precision = precision
        self._largest = largest_batch
        self._workspace = workspace_bytes

    def build(self, model: bytes, name: str, timings: bytes) -> tuple[bytes, bytes]:
        """Build a plan; minutes on a small board.

        Args:
            model: an admitted ONNX model, float32 or with signed Q/DQ.
            name: its file's, for messages.
            timings: the timing cache of earlier builds, empty for none.

        Returns:
            The plan and the timing cache as it is now.

        Raises:
            EngineError: TensorRT cannot parse it or cannot build it so.
        """
        trt = self._trt
        builder = trt.Builder(self._logger)
        explicit = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
        network = builder.create_network(0 if explicit is None else 1 << int(explicit))
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse(model):
            reasons = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
            raise EngineError(f"TensorRT cannot parse {name}: {reasons[:300]}")
        config = self._config(builder, network)
        cache = config.create_timing_cache(timings)
        config.set_timing_cache(cache, ignore_mismatch=False)
        built = builder.build_serialized_network(network, config)
        if built is None:
            raise EngineError(f"TensorRT cannot build {name} as {self._precision}.", "Choose another precision in the profile.")
        return bytes(built), bytes(config.get_timing_cache().serialize())

    def _config(self, builder: Any, network: Any) -> Any:
        trt = self._trt
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, self._workspace)
        for flag in FLAGS[self._precision]:
            if hasattr(trt.BuilderFlag, flag):
                config.set_flag(getattr(trt.BuilderFlag, flag))
            elif self._precision == "fp16":
                raise EngineError(
                    f"TensorRT {trt.__version__} builds no FP16 from a float32 model.", "Use TensorRT 10, or another precision."
                )
        entry = network.get_input(0)
        sides = tuple(entry.shape)[1:]
        shapes = builder.create_optimization_profile()
        shapes.set_shape(entry.name, (1, *sides), (1, *sides), (self._largest, *sides))
        config.add_optimization_profile(shapes)
        return config
