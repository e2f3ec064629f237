"""Files that are written whole or not at all, also when the power fails in between.

The order is always: write beside, fsync the file, rename over, fsync the folder. A reader sees the old or the new file, never a part.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from shared.errors import StorageError


def write(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write `data` to `path` in one step.

    Raises:
        StorageError: the disk is full, read-only or gone; the old file is then still there.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise StorageError(f"{path} cannot be written: {error}.", "Free space, or correct the folder's permissions.") from error


def move(source: Path, destination: Path) -> None:
    """Put a finished file in its place in one step; both must be on one file system.

    Raises:
        StorageError: it cannot be synced or moved.
    """
    try:
        with source.open("rb") as file:
            os.fsync(file.fileno())
        source.replace(destination)
        sync_folder(destination.parent)
    except OSError as error:
        raise StorageError(f"{destination} cannot be put in place: {error}.") from error


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
