"""Which engine, precision and providers a profile means on a given machine, and why. Pure.

Rules, in order:
1. The profile's engine, where it can run. TensorRT that is missing, too new or without a GPU stops, or, where the profile says
   `otherwise = "onnx"`, gives way to ONNX Runtime; the reason is told.
2. Of ONNX Runtime's providers those this machine has, in the profile's order; the passed-over ones are named. None left is an error.
3. INT8 is what a release holds; where this machine multiplies 8-bit integers no faster, the words say so, they change nothing.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from shared.errors import EngineError
from shared.hwprofile.fit import can_tensorrt, software
from shared.hwprofile.machine import INT8_INSTRUCTIONS, Machine
from shared.hwprofile.profile import Precision, Profile

_CPU = "CPUExecutionProvider"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What will run: engine, precision, ONNX Runtime's providers (empty for TensorRT), threads, batch, and the reasons in sentences."""

    engine: Literal["onnx", "tensorrt"]
    precision: Precision
    providers: tuple[str, ...]
    threads: int
    batch: int
    why: tuple[str, ...]


def choose(profile: Profile, machine: Machine) -> Choice:
    """Return what the profile means on this machine.

    Raises:
        EngineError: nothing the profile allows can run here.
    """
    engine, why = profile.engine, [f"the profile {profile.name} asks for {profile.engine.name} and {profile.engine.precision}"]
    if engine.name == "tensorrt":
        if can_tensorrt(profile, machine):
            why.append(f"TensorRT {machine.tensorrt} and {machine.gpus[0].name} are there")
            return _choice(profile, "tensorrt", (), why)
        why.append(_no_tensorrt(profile, machine))
        if engine.otherwise == "stop":
            raise EngineError(f"{why[-1]}, and the profile {profile.name} allows nothing else.", _remedy(profile, machine))
    providers = tuple(one for one in engine.providers if one in machine.providers)
    why += [f"this ONNX Runtime has no {one}" for one in engine.providers if one not in machine.providers]
    if not providers:
        raise EngineError(f"this machine's ONNX Runtime has none of {', '.join(engine.providers)}.", "Choose another hardware profile.")
    why.append(f"ONNX Runtime {machine.onnxruntime} has {providers[0]}")
    if engine.precision == "int8" and providers[0] == _CPU:
        why.append(_int8_words(machine))
    return _choice(profile, "onnx", providers, why)


def _choice(profile: Profile, engine: Literal["onnx", "tensorrt"], providers: tuple[str, ...], why: list[str]) -> Choice:
    asked = profile.engine
    return Choice(engine=engine, precision=asked.precision, providers=providers, threads=asked.threads, batch=asked.batch, why=tuple(why))


def _no_tensorrt(profile: Profile, machine: Machine) -> str:
    if not machine.has_tensorrt:
        return "TensorRT is not installed for this Python"
    if not machine.gpus:
        return "no GPU of NVIDIA answers"
    return f"TensorRT {machine.tensorrt} is later than {profile.tensorrt_most}, the last that knows this GPU"


def _remedy(profile: Profile, machine: Machine) -> str:
    wrong = [one for one in software(profile, machine) if not one.ok]
    return wrong[0].remedy if wrong else "Look at the GPU with nvidia-smi."


def _int8_words(machine: Machine) -> str:
    names = sorted({INT8_INSTRUCTIONS[one] for one in machine.features if one in INT8_INSTRUCTIONS})
    if names:
        return f"the processor has {' and '.join(names)}: INT8 is what it is fast at"
    return "the processor has no instruction for 8-bit products that we know of: INT8 may gain little here"
