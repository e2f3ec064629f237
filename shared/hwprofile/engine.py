"""From a profile to an engine: the one place that knows which engine a profile's name means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from shared.engines.base import Engine
from shared.hwprofile.profile import Profile


def engine_maker(profile: Profile, *, cache: Path, threads: int | None = None) -> Callable[[Path], Engine]:
    """Return what makes the profile's engine for a model file.

    Args:
        profile: decides engine, precision, threads and batch.
        cache: folder for engines built on this machine (TensorRT); made when needed, mode 0700.
        threads: overrides the profile's threads.

    Returns:
        A function from the `.onnx` file to an engine that loads it by its first run.

    Raises:
        DependencyError: when called, where the engine's library is not installed.
    """
    choice = profile.engine

    def make(path: Path) -> Engine:
        if choice.name == "tensorrt":
            from shared.engines.trt import TensorRtEngine

            return TensorRtEngine(
                path, cache=cache, precision=choice.precision, largest_batch=choice.batch, workspace_mb=choice.workspace_mb
            )
        from shared.engines.onnx import OnnxEngine

        return OnnxEngine(path, threads=threads or choice.threads, providers=choice.providers)

    return make
