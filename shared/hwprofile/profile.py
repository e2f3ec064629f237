r"""What a hardware profile says, as a schema. Pure: the files are read in `shelf`.

A profile decides engine, precision, batch and threads, and nothing else does. What it states about the machine itself (processor,
memory) is there to be checked against the machine. Every figure that no measurement of ours stands behind names its source.

Example:
    >>> parse('schema = 1\nname = "x"\nsummary = "s"\nkind = "edge"\nmachines = ["x86_64"]\n'
    ...       '[engine]\nname = "onnx"\nprecision = "int8"\n', name="x").engine.threads
    1
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from shared.errors import ConfigurationError
from shared.section import Section

SCHEMA = 1
Precision = Literal["fp32", "fp16", "int8"]


class EngineChoice(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How models run.

    `name` is the engine; `precision` what a release is asked for; `providers` are ONNX Runtime's, by preference; `threads` inside one
    operator; `batch` frames of different streams in one run at most; `workspace_mb` is TensorRT's scratch memory while building.
    """

    name: Literal["onnx", "tensorrt"]
    precision: Precision
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    threads: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    batch: Annotated[int, msgspec.Meta(ge=1, le=256)] = 16
    workspace_mb: Annotated[int, msgspec.Meta(ge=16)] = 256


class Fact(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something stated about the hardware: where it is from (`source`, an address or a command) and whether we saw it there."""

    states: str
    source: str
    seen: bool = False


class Profile(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One board or server.

    `machines` are the processor names it fits (as `uname -m` gives them); `memory_mb` is the least memory it is meant for.
    """

    schema: Literal[1]
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,63}$")]
    summary: str
    kind: Literal["edge", "region"]
    machines: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    engine: EngineChoice
    memory_mb: Annotated[int, msgspec.Meta(ge=0)] = 0
    facts: tuple[Fact, ...] = ()


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What a profile is checked against: processor, logical cores, memory in MB and ONNX Runtime's providers."""

    machine: str
    cores: int
    memory_mb: int
    providers: tuple[str, ...]
    has_tensorrt: bool = False


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One check: what was looked at, whether it is right, and what to do when not."""

    what: str
    ok: bool
    remedy: str = ""


def parse(text: str, *, name: str) -> Profile:
    """Parse a profile; `name` is the file's, for messages, without `.toml`.

    Raises:
        ConfigurationError: not TOML, not of the schema, or its name is not the file's.
    """
    try:
        profile = msgspec.toml.decode(text, type=Profile)
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"the hardware profile {name} is not valid: {error}.", "See `terrace hw schema`.") from None
    if profile.name != name:
        raise ConfigurationError(f"the hardware profile in {name}.toml calls itself {profile.name}.", "Give both the same name.")
    return profile


def check(profile: Profile, machine: Machine) -> list[Finding]:
    """Compare a profile with a machine; every finding says what to do where it is not right."""
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
    if profile.engine.name == "tensorrt":
        remedy = "Install NVIDIA's TensorRT for this Python: pip install 'terrace[tensorrt]' from NVIDIA's index."
        return [*findings, Finding(what="TensorRT can be imported", ok=machine.has_tensorrt, remedy=remedy)]
    return findings + [
        Finding(
            what=f"ONNX Runtime has {provider}",
            ok=provider in machine.providers,
            remedy="Install the build of ONNX Runtime that has it, or choose another profile.",
        )
        for provider in profile.engine.providers
    ]


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a profile (draft 2020-12)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Profile)}
