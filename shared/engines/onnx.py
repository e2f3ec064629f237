"""ONNX Runtime: the only file that imports it.

Rules, in order:
1. The file passes `admission` before the runtime sees it; the session is made from those very bytes, so nothing on disk can change
   in between and no external data can be found.
2. Deterministic kernels, sequential execution, a fixed number of threads that do not spin while idle; the CPU provider unless
   others are named.
3. Everything the runtime raises becomes an EngineError; logits that are not finite are refused.

Not here: warm-up (whoever swaps engines runs one batch first), preprocessing, decoding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from shared.engines.admission import admit
from shared.engines.base import Batch
from shared.engines.providers import CPU, needs_memory_pattern_off, provider_options
from shared.errors import EngineError


class OnnxEngine:
    """A model run by ONNX Runtime; the file is read by `load`, at the latest by the first `run`.

    Args:
        path: the `.onnx` file.
        threads: threads inside one operator.
        providers: execution providers by preference; those this machine lacks are an error. None means the CPU.
        precision: what the model is in, for providers that build for it.
        session: further entries of the session's configuration.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int = 1,
        providers: Sequence[str] | None = None,
        precision: str = "int8",
        session: Mapping[str, str] | None = None,
    ) -> None:
        self._path = path
        self._threads = threads
        self._providers = tuple(providers or (CPU,))
        self._precision = precision
        self._entries = {"session.intra_op.allow_spinning": "0", **(session or {})}
        self._session: Any = None
        self._input, self._outputs = "", [""]
        self._shape: list[int | str | None] = []

    @property
    def name(self) -> str:
        """What runs it: `onnxruntime cpu`, with the first provider in use."""
        return f"onnxruntime {self._providers[0].removesuffix('ExecutionProvider').lower()}"

    def load(self) -> OnnxEngine:
        """Read and check the file and make the session; returns the engine itself.

        Raises:
            EngineError: no such file, a file the rules refuse, or one the runtime cannot run.
        """
        missing = set(self._providers) - set(onnxruntime.get_available_providers())
        if missing:
            raise EngineError(f"this machine's ONNX Runtime has no {min(missing)}.", "Choose another hardware profile.")
        try:
            data = Path(self._path).read_bytes()
        except OSError as error:
            raise EngineError(f"the model {self._path} cannot be read: {error}.") from error
        admit(data)
        try:
            session = onnxruntime.InferenceSession(data, self._options(), providers=self._with_options())
        except Exception as error:  # the runtime raises its own family of pybind classes, RuntimeError and ValueError
            raise EngineError(f"ONNX Runtime cannot load {Path(self._path).name}: {_line(error)}") from error
        inputs = session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or len(session.get_outputs()) != 1:
            raise EngineError(f"{Path(self._path).name} does not have one NCHW input and one output.")
        self._input, self._shape, self._outputs = inputs[0].name, inputs[0].shape, [session.get_outputs()[0].name]
        self._session = session
        return self

    def run(self, batch: Batch) -> Batch:
        """Run one batch; see `Engine.run`."""
        if self._session is None:
            self.load()
        if not self._fits(batch):
            raise EngineError(f"the model takes {self._shape}, not a batch of {list(batch.shape)} {batch.dtype}.")
        try:
            logits: Batch = self._session.run(self._outputs, {self._input: batch})[0]
        except Exception as error:  # the runtime raises its own family of pybind classes
            raise EngineError(f"ONNX Runtime failed on a batch of {list(batch.shape)}: {_line(error)}") from error
        if logits.ndim < 2 or len(logits) != len(batch):
            raise EngineError(f"the model answered {list(logits.shape)} to a batch of {len(batch)}: not one answer per frame.")
        if not math.isfinite(logits.sum()):  # one pass: any NaN or infinity shows in the sum
            raise EngineError("the model answered with numbers that are not finite.", "The release is unusable; fall back.")
        return logits

    def close(self) -> None:
        """Give the session back."""
        self._session = None

    def _options(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = 4
        options.enable_mem_pattern = not needs_memory_pattern_off(self._providers)
        for key, value in self._entries.items():
            options.add_session_config_entry(key, value)
        return options

    def _with_options(self) -> list[Any]:
        return [(name, provider_options(name, self._precision)) for name in self._providers]

    def _fits(self, batch: Batch) -> bool:
        if batch.dtype != np.float32 or batch.ndim != 4 or not len(batch):
            return False
        return all(want == have or not isinstance(want, int) for want, have in zip(self._shape, batch.shape, strict=True))


def available_providers() -> tuple[str, ...]:
    """Return the execution providers of the installed ONNX Runtime."""
    return tuple(onnxruntime.get_available_providers())


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
