"""TOML text and environment overrides become one tree of frozen structs. Pure: the text and the environment are arguments.

Rules, in order:
1. Every key must exist in the struct (an unknown key stops the start and is named).
2. `TERRACE_<SECTION>__<KEY>=value` overrides a key of the text; the value is TOML, or else taken as a string.
3. A relative path is relative to `base`, the file's folder.
4. A number that is none, or infinite, is refused: compared with anything it decides nothing, and quietly.
5. What is missing takes the struct's default; what has none is named with its section.

Example:
    >>> import msgspec
    >>> class Region(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    ...     name: str
    >>> parse('name = "region-1"', Region, environment={}).name
    'region-1'
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from shared.errors import ConfigurationError

PREFIX = "TERRACE_"
Settings = TypeVar("Settings", bound=msgspec.Struct)


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every configuration section: frozen, keyword-only, unknown keys refused."""


def parse(
    text: str, settings: type[Settings], *, environment: Mapping[str, str], name: str = "configuration", base: Path | None = None
) -> Settings:
    """Validate TOML text against a struct, with overrides from `environment`.

    Raises:
        ConfigurationError: naming the key and the remedy.
    """
    try:
        tree = msgspec.toml.decode(text)
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{name} is not valid TOML: {error}.", "Correct the line it names.") from None
    for key, value in environment.items():
        if key.startswith(PREFIX) and "__" in key:
            _override(tree, key[len(PREFIX) :].lower().split("__"), value, key)
    if wrong := _infinite(tree, "$"):
        raise ConfigurationError(f"{name}: a number that is not finite - at `{wrong}`.", "Write a number, or leave the key out.")
    try:
        return msgspec.convert(tree, settings, dec_hook=_path_hook(base))
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{name}: {error}.", "Correct or remove the key named after `$`.") from None


def _override(tree: dict[str, Any], keys: list[str], value: str, variable: str) -> None:
    for key in keys[:-1]:
        inner = tree.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigurationError(f"{variable} names {key}, which is no section.", "Remove the variable from the environment.")
        tree = inner
    try:
        tree[keys[-1]] = msgspec.toml.decode(f"value = {value}")["value"]
    except msgspec.DecodeError:
        tree[keys[-1]] = value


def _infinite(value: Any, path: str) -> str:
    """Return where a number stands that is not finite, empty for nowhere."""
    if isinstance(value, dict):
        return next((found for key, inner in value.items() if (found := _infinite(inner, f"{path}.{key}"))), "")
    if isinstance(value, list):
        return next((found for place, inner in enumerate(value) if (found := _infinite(inner, f"{path}[{place}]"))), "")
    return path if isinstance(value, float) and not math.isfinite(value) else ""


def _path_hook(base: Path | None) -> Any:
    def decode(kind: type, value: Any) -> Any:
        if kind is Path and isinstance(value, str):
            path = Path(value).expanduser()
            return path if base is None or path.is_absolute() else base / path
        raise NotImplementedError(f"no configuration value of type {kind}")  # how a dec_hook of msgspec says "not mine"

    return decode
