"""`terrace hw probe`: what this machine is, which profile fits it and why, what will run and why, and how fast that is here.

Where nothing can run (a library is missing) the rest is told all the same, with the reason and the remedy.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from shared.engines.base import Engine
from shared.errors import ConfigurationError, InputError, TerraceError
from shared.hwprofile import fit, look, measure, shelf
from shared.hwprofile.choice import Choice, choose
from shared.hwprofile.engine import make_engine
from shared.hwprofile.fit import Fit
from shared.hwprofile.machine import Machine
from shared.hwprofile.profile import Profile
from shared.hwprofile.timing import Timing


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured: the model's file, the engine's name, times by batch, INT8 against FP32 (None: the model is not quantised)."""

    model: str
    engine: str
    latencies: list[Timing]
    int8_speedup: float | None


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer; `fits` has the best profile first; `reason` says why there is no choice or measurement, else it is empty."""

    machine: Machine
    fits: list[Fit]
    profile: str
    choice: Choice | None = None
    measured: Measured | None = None
    reason: str = ""


def probe(name: str = "auto", *, folder: Path | None = None, model: Path | None = None, seconds: float = 2.0) -> Probe:
    """Look at this machine and measure a model on it.

    Args:
        name: the profile to use; `auto` takes the one that fits best, a region's too.
        folder: a folder of profiles that is searched first.
        model: a release's file; the shipped student when left out.
        seconds: how long to measure each figure; 0 measures nothing.

    Raises:
        ConfigurationError: a profile is not valid, or there is none of that name.
    """
    machine, profiles = look.machine(), {one.name: one for one in shelf.every(folder)}
    fits = fit.best(profiles.values(), machine)
    if name == "auto" and not (fits and fits[0].rank):
        raise ConfigurationError("no hardware profile fits this machine.", "Write one and name it in model.profile: terrace hw schema")
    profile = profiles[fits[0].profile] if name == "auto" else shelf.find(name, folder)
    found = Probe(machine=machine, fits=fits, profile=profile.name)
    try:
        found = msgspec.structs.replace(found, choice=choose(profile, machine))
        if seconds and found.choice is not None:
            found = msgspec.structs.replace(found, measured=_measure(profile, found.choice, machine, model, seconds))
    except TerraceError as error:
        found = msgspec.structs.replace(found, reason=str(error))
    return found


def _measure(profile: Profile, choice: Choice, machine: Machine, model: Path | None, seconds: float) -> Measured:
    path = model or measure.shipped_model()
    if not path.is_file():
        raise InputError(f"there is no model file {path}.", "Give a release's .onnx file with its card beside it.")
    spec = measure.input_of(path)
    with tempfile.TemporaryDirectory(prefix="terrace-probe-") as cache:

        def make(file: Path) -> Engine:
            return make_engine(file, profile, choice, machine, cache=Path(cache) / "engines")

        engine = make(path)
        try:
            latencies, words = measure.latencies(engine, spec, seconds=seconds), engine.name
        finally:
            engine.close()
        speedup = measure.int8_speedup(path, spec, make, seconds=seconds) if choice.engine == "onnx" else None
    return Measured(model=path.name, engine=words, latencies=latencies, int8_speedup=speedup)


def words(found: Probe) -> list[str]:
    """Return the answer in lines, for people."""
    machine = found.machine
    lines = [f"machine   {machine.label}: {machine.machine}, {machine.cores} cores, {machine.memory_mb} MB, {machine.system}"]
    lines += [f"gpu       {gpu.name}, compute capability {gpu.capability}, {gpu.memory_mb} MB" for gpu in machine.gpus]
    installed = (("ONNX Runtime", machine.onnxruntime), ("TensorRT", machine.tensorrt), ("NVIDIA driver", machine.driver))
    lines.append("installed " + (", ".join(f"{name} {version}" for name, version in installed if version) or "no engine"))
    lines += [f"{'profile' if one.profile == found.profile else 'other':9} {one.profile}: {one.why}" for one in found.fits]
    if found.choice is not None:
        lines.append(
            f"engine    {found.choice.engine} {found.choice.precision}, {found.choice.threads} threads, batches to {found.choice.batch}"
        )
        lines += [f"because   {why}" for why in found.choice.why]
    if found.measured is not None:
        lines += _measured_words(found.measured)
    return [*lines, f"NO        {found.reason}"] if found.reason else lines


def _measured_words(measured: Measured) -> list[str]:
    lines = [
        f"measured  {measured.model} by {measured.engine}, batch {one.batch}: median {one.p50_ms:.2f} ms, p99 {one.p99_ms:.2f} ms, "
        f"{one.frames_per_s:.0f} frames/s over {one.runs} runs"
        for one in measured.latencies
    ]
    if measured.int8_speedup is not None:
        lines.append(f"measured  INT8 is {measured.int8_speedup:.2f} times as fast as the same model in FP32")
    return lines
