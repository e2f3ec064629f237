"""TensorRT: the only file that imports it, and only when an engine is loaded, since few machines have it.

Rules, in order:
1. The model passes `admission` before NVIDIA's parser sees it.
2. A release that was quantised for processors is rewritten (`quantised`): signed for INT8, without quantisation for FP16 and FP32.
3. Plans are built on this machine (`planbuild`) by whoever loads a model, which is never the thread that answers frames, and cached
   with the timing cache under `plans`' rules.
4. Frames go to the GPU and logits come back through pinned memory, which the copy engine reads without a detour.

Written against TensorRT 8.5 to 10 (`execute_async_v3`, named tensors); in 8 the explicit-batch flag is needed, later it is gone.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

from shared import clock, log
from shared.engines.admission import admit
from shared.engines.base import Batch
from shared.engines.cuda import Cuda, floats
from shared.engines.planbuild import PlanBuilder
from shared.engines.planfile import plan_name, timings_name
from shared.engines.plans import PlanCache
from shared.engines.quantised import prepared
from shared.errors import DependencyError, EngineError, StorageError

BUILT, NOT_CACHED = "engine_built", "engine_not_cached"


class TensorRtEngine:
    """A model run by TensorRT on the first GPU; loaded by `load`, at the latest by the first `run`.

    Args:
        path: the `.onnx` file.
        cache: folder for the built engines.
        precision: fp32, fp16 or int8.
        largest_batch: frames in one run at most; a larger batch runs in parts.
        workspace_mb: scratch memory while building.
        built_for: names board and driver; a plan of others is never loaded.
    """

    def __init__(
        self,
        path: Path,
        *,
        cache: Path,
        precision: str = "fp16",
        largest_batch: int = 16,
        workspace_mb: int = 256,
        built_for: str = "",
    ) -> None:
        self._path = path
        self._cache = PlanCache(cache)
        self._precision = precision
        self._largest = largest_batch
        self._workspace = workspace_mb << 20
        self._built_for = built_for
        self._cuda = Cuda()
        self._context: Any = None
        self._engine: Any = None
        self._names = ("", "")
        self._places: list[ctypes.c_void_p] = []
        self._pinned: list[ctypes.c_void_p] = []
        self._staged: list[Batch] = []

    @property
    def name(self) -> str:
        """What runs it: `tensorrt int8`."""
        return f"tensorrt {self._precision}"

    def load(self) -> TensorRtEngine:
        """Read the model, take the plan from the cache or build it, and make the context; returns the engine itself.

        Raises:
            DependencyError: TensorRT or CUDA is not installed.
            EngineError: the model is refused, or TensorRT cannot build or load it.
        """
        trt = _tensorrt()
        try:
            model = self._path.read_bytes()
        except OSError as error:
            raise EngineError(f"the model {self._path} cannot be read: {error}.") from error
        admit(model)
        self._cuda.open()
        logger = trt.Logger(trt.Logger.ERROR)
        engine = trt.Runtime(logger).deserialize_cuda_engine(self._plan(trt, logger, model))
        if engine is None:
            raise EngineError(f"TensorRT cannot load {self._path.name}.", "Remove the engine cache and start again.")
        self._engine, self._context = engine, engine.create_execution_context()
        self._bind(trt)
        return self

    def run(self, batch: Batch) -> Batch:
        """Run one batch; see `Engine.run`."""
        if self._context is None:
            self.load()
        want = tuple(self._engine.get_tensor_shape(self._names[0]))[1:]
        if batch.dtype != np.float32 or batch.ndim != 4 or not len(batch) or batch.shape[1:] != want:
            raise EngineError(f"the model takes (n, {want}) float32, not a batch of {list(batch.shape)} {batch.dtype}.")
        parts = [self._run_part(np.ascontiguousarray(batch[at : at + self._largest])) for at in range(0, len(batch), self._largest)]
        logits = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if not np.isfinite(logits).all():
            raise EngineError("the model answered with numbers that are not finite.", "The release is unusable; fall back.")
        return logits

    def close(self) -> None:
        """Give device memory, context and stream back."""
        for place in self._places:
            self._cuda.free(place)
        self._staged = []  # the arrays end before their memory
        for place in self._pinned:
            self._cuda.free_pinned(place)
        self._places, self._pinned, self._context, self._engine = [], [], None, None
        self._cuda.close()

    def _run_part(self, part: Batch) -> Batch:
        source, target = self._names
        if not self._context.set_input_shape(source, part.shape):
            raise EngineError(f"TensorRT refuses a batch of {list(part.shape)}.")
        shape = tuple(self._context.get_tensor_shape(target))
        frames, logits = self._staged[0][: part.size], self._staged[1][: int(np.prod(shape))]
        frames[:] = part.reshape(-1)
        self._cuda.to_device(self._places[0], frames)
        if not self._context.execute_async_v3(self._cuda.stream.value):
            raise EngineError(f"TensorRT failed on a batch of {list(part.shape)}.")
        self._cuda.to_host(logits, self._places[1])
        self._cuda.wait()
        return np.array(logits.reshape(shape))  # the pinned memory is overwritten by the next run

    def _bind(self, trt: Any) -> None:
        """Find input and output by name and give both their places, on the device and pinned here, for the largest batch."""
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        outputs = [name for name in names if name not in inputs]
        if len(inputs) != 1 or len(outputs) != 1 or any(self._engine.get_tensor_dtype(name) != trt.float32 for name in names):
            raise EngineError(f"{self._path.name} does not have one float32 input and one float32 output.")
        self._names = (inputs[0], outputs[0])
        for name in self._names:
            values = self._largest * int(np.prod(tuple(self._engine.get_tensor_shape(name))[1:]))
            place, pinned = self._cuda.allocate(4 * values), self._cuda.allocate_pinned(4 * values)
            self._places.append(place)
            self._pinned.append(pinned)
            self._staged.append(floats(pinned, values))
            self._context.set_tensor_address(name, place.value)

    def _plan(self, trt: Any, logger: Any, model: bytes) -> bytes:
        machine = {"runtime": trt.__version__, "capability": self._cuda.compute_capability(), "built_for": self._built_for}
        name = plan_name(model=model, precision=self._precision, largest_batch=self._largest, **machine)
        plan = self._cache.get(name)
        if plan is not None:
            return plan
        times = timings_name(**machine)
        workspace = self._workspace
        builder = PlanBuilder(trt, logger, precision=self._precision, largest_batch=self._largest, workspace_bytes=workspace)
        began = clock.monotonic()
        plan, timings = builder.build(prepared(model, self._precision), self._path.name, self._cache.get(times) or b"")
        took_s = round(clock.monotonic() - began, 1)
        log.get("tensorrt").info(BUILT, model=self._path.name, precision=self._precision, size=len(plan), took_s=took_s)
        try:
            self._cache.put(name, plan)
            self._cache.put(times, timings)
        except StorageError as error:
            log.get("tensorrt").warning(NOT_CACHED, reason=error.message)
        return plan


def _tensorrt() -> Any:
    try:
        import tensorrt
    except ImportError as error:
        raise DependencyError(
            "this hardware profile needs TensorRT, which is not installed for this Python.",
            "Use JetPack's TensorRT, pip install 'terrace[tensorrt]', or choose an ONNX profile (terrace hw list).",
        ) from error
    return tensorrt
