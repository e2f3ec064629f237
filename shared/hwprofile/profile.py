r"""What a hardware profile says, as a schema. Pure: the files are read in `shelf`.

A profile decides engine, precision, batch and threads, and nothing else does. What it states about the machine itself (processor,
board, GPU, memory) is there to be checked against the machine (`machine`, `fit`); what will run where something is missing, `choice`
says. Every figure that no measurement of ours stands behind names its source.

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

    `name` is the engine; `precision` what a release is asked for; `providers` are ONNX Runtime's, by preference, those this machine
    lacks are passed over; `threads` inside one operator; `batch` frames of different streams in one run at most; `workspace_mb` is
    TensorRT's scratch memory while building. `otherwise` says what happens where TensorRT cannot run: `stop`, or `onnx`, ONNX Runtime
    on `providers`. `session` are further entries of ONNX Runtime's session configuration.
    """

    name: Literal["onnx", "tensorrt"]
    precision: Precision
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    threads: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    batch: Annotated[int, msgspec.Meta(ge=1, le=256)] = 16
    workspace_mb: Annotated[int, msgspec.Meta(ge=16)] = 256
    otherwise: Literal["stop", "onnx"] = "stop"
    session: dict[str, str] = msgspec.field(default_factory=dict)


class Fact(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something stated about the hardware: where it is from (`source`, an address or a command) and whether we saw it there."""

    states: str
    source: str
    seen: bool = False


class Profile(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One board or server.

    `machines` are the processor names it fits (as `uname -m` gives them); `memory_mb` is the least memory it is meant for; `boards`
    are patterns (`*`, `?`) for the device tree's `compatible`, `capabilities` compute capabilities of NVIDIA's GPUs (`8.7`), of which
    one must be there; `tensorrt_most` is the last version of TensorRT that knows that GPU.
    """

    schema: Literal[1]
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,63}$")]
    summary: str
    kind: Literal["edge", "region"]
    machines: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    engine: EngineChoice
    memory_mb: Annotated[int, msgspec.Meta(ge=0)] = 0
    boards: tuple[str, ...] = ()
    capabilities: tuple[Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\.[0-9]+$")], ...] = ()
    tensorrt_most: Annotated[str, msgspec.Meta(pattern=r"^([0-9]+(\.[0-9]+)*)?$")] = ""
    facts: tuple[Fact, ...] = ()


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


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a profile (draft 2020-12)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Profile)}
