"""Whether a machine fits a profile, and which profile fits it best. Pure.

Rules, in order:
1. What a machine *is* (processor, board, GPU, memory) decides which profiles fit; what is *installed* never does: a board without its
   libraries is still that board, and `check` says what to install.
2. Of those that fit, one that names the board wins over one that names the GPU, that over a generic one; then the one meant for more
   memory, then the first by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from shared.hwprofile.machine import Machine, version
from shared.hwprofile.profile import Profile


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One check: what was looked at, whether it is right, and what to do when not."""

    what: str
    ok: bool
    remedy: str = ""


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """How a profile fits: `rank` 3 names the board, 2 the GPU, 1 is generic, 0 does not fit; `why` in a sentence."""

    profile: str
    rank: int
    why: str


def check(profile: Profile, machine: Machine) -> list[Finding]:
    """Compare a profile with a machine; every finding says what to do where it is not right."""
    return [*identity(profile, machine), *software(profile, machine)]


def identity(profile: Profile, machine: Machine) -> list[Finding]:
    """Compare what the machine is with what the profile is for."""
    findings = [
        Finding(
            what=f"processor {machine.machine} is one of {', '.join(profile.machines)}",
            ok=machine.machine in profile.machines,
            remedy="Choose a profile for this processor: terrace hw list",
        ),
        Finding(
            what=f"{machine.cores} cores for {profile.engine.threads} threads",
            ok=machine.cores >= profile.engine.threads,
            remedy="Set model.threads to at most the number of cores.",
        ),
        Finding(
            what=f"{machine.memory_mb} MB of memory, {profile.memory_mb} needed",
            ok=machine.memory_mb >= profile.memory_mb,
            remedy="Choose a profile for a smaller machine.",
        ),
    ]
    other = "Choose the profile of this machine: terrace hw probe"
    if profile.boards:
        what = f"the board {machine.board or '(not named by this system)'} is one of {', '.join(profile.boards)}"
        findings.append(Finding(what=what, ok=_names_board(profile, machine), remedy=other))
    if profile.capabilities:
        there = ", ".join(gpu.capability for gpu in machine.gpus) or "none"
        what = f"a GPU of compute capability {' or '.join(profile.capabilities)}, found {there}"
        findings.append(Finding(what=what, ok=_has_gpu(profile, machine), remedy=other))
    return findings


def software(profile: Profile, machine: Machine) -> list[Finding]:
    """Compare what is installed with what the profile's engine needs."""
    if profile.engine.name == "tensorrt":
        remedy = "Install NVIDIA's TensorRT for this Python: pip install 'terrace[tensorrt]' from NVIDIA's index."
        findings = [Finding(what="TensorRT can be imported", ok=machine.has_tensorrt, remedy=remedy)]
        if profile.tensorrt_most and machine.tensorrt:
            what = f"TensorRT {machine.tensorrt} is not later than {profile.tensorrt_most}"
            remedy = f"Install TensorRT {profile.tensorrt_most}: later ones do not know this GPU."
            findings.append(Finding(what=what, ok=_is_early_enough(profile, machine), remedy=remedy))
        return findings
    remedy = "Install the build of ONNX Runtime that has it, or choose another profile."
    return [
        Finding(what=f"ONNX Runtime has {provider}", ok=provider in machine.providers, remedy=remedy)
        for provider in profile.engine.providers
    ]


def can_tensorrt(profile: Profile, machine: Machine) -> bool:
    """Tell whether TensorRT as it is installed can run on this machine's GPU."""
    return machine.has_tensorrt and bool(machine.gpus) and _is_early_enough(profile, machine)


def best(profiles: Iterable[Profile], machine: Machine) -> list[Fit]:
    """Return how every profile fits, the best first."""
    found = [(_fit(one, machine), one) for one in profiles]
    found.sort(key=lambda pair: (-pair[0].rank, -pair[1].memory_mb, pair[1].name))
    return [fit for fit, _ in found]


def _fit(profile: Profile, machine: Machine) -> Fit:
    wrong = [one for one in identity(profile, machine) if not one.ok]
    if wrong:
        return Fit(profile=profile.name, rank=0, why=f"not: {wrong[0].what}")
    if profile.boards:
        return Fit(profile=profile.name, rank=3, why=f"made for this board, {machine.board}")
    if profile.capabilities:
        return Fit(profile=profile.name, rank=2, why=f"made for this GPU, {machine.gpus[0].name}")
    return Fit(profile=profile.name, rank=1, why=f"for any {machine.machine} machine")


def _names_board(profile: Profile, machine: Machine) -> bool:
    return any(fnmatchcase(entry, pattern) for entry in machine.compatible for pattern in profile.boards)


def _has_gpu(profile: Profile, machine: Machine) -> bool:
    return any(gpu.capability in profile.capabilities for gpu in machine.gpus)


def _is_early_enough(profile: Profile, machine: Machine) -> bool:
    limit = version(profile.tensorrt_most)
    return not limit or version(machine.tensorrt)[: len(limit)] <= limit
