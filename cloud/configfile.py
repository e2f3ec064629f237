"""cloud.toml as a file: read once by the composition root, by the commands and by the round worker."""

from __future__ import annotations

from pathlib import Path

from cloud.config import Settings, checked
from shared.config import load


def read(path: Path) -> Settings:
    """Read and check cloud.toml.

    Raises:
        ConfigurationError: naming the key and the remedy.
    """
    return checked(load(path, Settings), str(path))
