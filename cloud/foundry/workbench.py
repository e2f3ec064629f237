"""Steps whose results are kept by content hash: a build that was stopped goes on where it was, and nothing is made twice.

A long step is made in a folder that outlives a kill (`resumed`): what its maker left there it finds again. A lock on that folder keeps
two builds apart; it goes with the process that holds it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import InputError, StorageError

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
        done = self._place(name, key)
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

    def resumed(self, name: str, key: bytes, make: Callable[[Path], None]) -> Path:
        """Return the folder of a long step's result, going on with what an earlier build left of it.

        Args:
            name: what is made, for people and the folder's name.
            key: everything the result depends on; the same key, the same result.
            make: fills the folder, which may hold what an earlier call left; the result counts only when it returns.

        Raises:
            InputError: another process is making it.
            StorageError: the folder cannot be written.
        """
        done = self._place(name, key)
        if done.is_dir():
            self.say(f"{name}: kept from an earlier build")
            return done
        working = done.with_name(f".{done.name}")
        try:
            working.mkdir(parents=True, exist_ok=True)
            with _alone(working, name):
                make(working)
                working.rename(done)
        except OSError as error:
            raise StorageError(f"{name} cannot be kept in {self.folder}: {error}.", "Free space, or set TERRACE_CACHE.") from error
        return done

    def kept(self, name: str, key: bytes) -> Path | None:
        """Return the folder of a step's result where it is finished; nothing is made."""
        done = self._place(name, key)
        return done if done.is_dir() else None

    def _place(self, name: str, key: bytes) -> Path:
        return self.folder / f"{name}-{hashlib.sha256(key).hexdigest()[:16]}"


@contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """Hold a folder's lock.

    Raises:
        InputError: another process holds it.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise InputError(f"another process is making the {name} right now.", "Wait for it, or end it; what it has done is kept.") from error
    finally:
        os.close(handle)


def digest(*paths: Path) -> bytes:
    """Return one SHA-256 over the contents of files, as 64 hexadecimal bytes."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest().encode()
