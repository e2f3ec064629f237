"""The highest serial of a region key that a device has seen, or its region given: an older one stays refused, and is not given again."""

from __future__ import annotations

import os
from pathlib import Path

from shared.errors import StorageError
from shared.link.localkey import sync_folder


class SerialFile:
    """One number in a file that only rises.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._serial = 0

    def read(self) -> int:
        """Return the number; 0 when there is none yet.

        Raises:
            StorageError: the file cannot be read or holds no number.
        """
        try:
            self._serial = int(self._path.read_text(encoding="ascii"))
        except FileNotFoundError:
            self._serial = 0
        except (OSError, ValueError) as error:
            raise StorageError(f"cannot read {self._path}: {error}.", "Restore it, or remove it: any serial is taken then.") from error
        return self._serial

    def write(self, serial: int) -> None:
        """Keep a higher number, durably before it returns; a lower or equal one changes nothing.

        Raises:
            StorageError: it cannot be written.
        """
        if serial <= self._serial:
            return
        partial = self._path.with_name(self._path.name + ".new")
        try:
            with partial.open("w", encoding="ascii") as file:
                file.write(str(serial))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            raise StorageError(f"cannot write {self._path}: {error}.", "Free some space, or correct the folder's permissions.") from error
        self._serial = serial
