"""Reading a daemon's configuration file, once. What a file may say is decided in shared.section."""

from __future__ import annotations

import os
from pathlib import Path

from shared.errors import ConfigurationError
from shared.section import Section, Settings, parse

__all__ = ["Section", "load", "parse"]


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
