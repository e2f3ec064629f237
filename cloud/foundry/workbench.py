"""Steps whose results are kept by content hash: a build that was stopped goes on where it was, and nothing is made twice."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from shared.errors import StorageError

Say = Callable[[str], None]


class Workbench:
    """A folder of finished steps.

    Args:
        folder: where they are kept.
        say: told in one line what is made.
    """

    def __init__(self, folder: Path, say: Say) -> None:
        self.folder = folder
        self.say = say

    def step(self, name: str, key: bytes, make: Callable[[Path], None]) -> Path:
        """Return the folder of a step's result, making it when it is not there.

        Args:
            name: what is made, for people and the folder's name.
            key: everything the result depends on; the same key, the same result.
            make: fills an empty folder; what it leaves counts only when it returns.

        Raises:
            StorageError: the folder cannot be written.
        """
        done = self.folder / f"{name}-{hashlib.sha256(key).hexdigest()[:16]}"
        if done.is_dir():
            self.say(f"{name}: kept from an earlier build")
            return done
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            working = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=self.folder))
        except OSError as error:
            raise StorageError(f"{self.folder} cannot be written: {error}.", "Free space, or set TERRACE_CACHE.") from error
        try:
            make(working)
            working.rename(done)
        except BaseException as error:
            shutil.rmtree(working, ignore_errors=True)
            if isinstance(error, OSError):
                raise StorageError(f"{name} cannot be kept in {self.folder}: {error}.", "Free space, or set TERRACE_CACHE.") from error
            raise
        return done


def digest(*paths: Path) -> bytes:
    """Return one SHA-256 over the contents of files, as 64 hexadecimal bytes."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest().encode()
