"""Configuration: a TOML file and environment overrides become one tree of frozen structs, read once.

Rules, in order:
1. The file is TOML; every key must exist in the struct (an unknown key stops the start and is named).
2. `TERRACE_<SECTION>__<KEY>=value` overrides a key of the file; the value is TOML, or else taken as a string.
3. A relative path in the file is relative to the file's folder.
4. What is missing takes the struct's default; what has none is named with its section.

Example:
    >>> import msgspec
    >>> class Region(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    ...     name: str
    >>> parse('name = "region-1"', Region, environment={}).name
    'region-1'
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from shared.errors import ConfigurationError

PREFIX = "TERRACE_"
Settings = TypeVar("Settings", bound=msgspec.Struct)


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every configuration section: frozen, keyword-only, unknown keys refused."""


def load(path: Path, settings: type[Settings]) -> Settings:
    """Read a configuration file.

    Args:
        path: the TOML file.
        settings: the struct the file must fit.

    Returns:
        The validated settings; relative `Path` values are resolved against the file's folder.

    Raises:
        ConfigurationError: the file is missing, is not TOML, or does not fit.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"there is no configuration file {path}.", "Give its path with --config.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the configuration file {path} cannot be read: {error}.") from error
    return parse(text, settings, environment=os.environ, name=str(path), base=path.resolve().parent)


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


def _path_hook(base: Path | None) -> Any:
    def decode(kind: type, value: Any) -> Any:
        if kind is Path and isinstance(value, str):
            path = Path(value).expanduser()
            return path if base is None or path.is_absolute() else base / path
        raise NotImplementedError(f"no configuration value of type {kind}")

    return decode
