"""From a profile to an engine: the one place that knows which engine a profile's name means; `choice` decides, this makes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from shared.engines.base import Engine
from shared.hwprofile import look
from shared.hwprofile.choice import Choice, choose
from shared.hwprofile.machine import Machine
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
        EngineError: when called, where nothing the profile allows can run on this machine.
    """
    chosen: list[tuple[Choice, Machine]] = []

    def make(path: Path) -> Engine:
        if not chosen:  # at the first model, not at the start: it asks the GPU's driver
            machine = look.machine()
            chosen.append((choose(profile, machine), machine))
        choice, machine = chosen[0]
        return make_engine(path, profile, choice, machine, cache=cache, threads=threads)

    return make


def make_engine(path: Path, profile: Profile, choice: Choice, machine: Machine, *, cache: Path, threads: int | None = None) -> Engine:
    """Return the engine that was chosen for a machine, for one model file; other arguments as in `engine_maker`."""
    if choice.engine == "tensorrt":
        from shared.engines.trt import TensorRtEngine

        return TensorRtEngine(
            path,
            cache=cache,
            precision=choice.precision,
            largest_batch=choice.batch,
            workspace_mb=profile.engine.workspace_mb,
            built_for=machine.built_for,
        )
    from shared.engines.onnx import OnnxEngine

    return OnnxEngine(
        path,
        threads=threads or choice.threads,
        providers=choice.providers,
        precision=choice.precision,
        session=profile.engine.session,
    )
