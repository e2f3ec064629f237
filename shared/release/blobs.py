"""A store of blobs named by their SHA-256: what is there is whole, and what is read is checked against its name.

A blob is written once and never changed. Files lie in `<folder>/<first two hex digits>/<sha256>`; names are checked before they
become paths.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from shared import durable
from shared.errors import InputError, StorageError

_NAME = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20


class BlobStore:
    """Content-addressed files below one folder.

    Args:
        folder: made on first use.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        """Return where a blob lies, or would lie.

        Raises:
            InputError: `sha256` is not 64 lower-case hex digits.
        """
        if not _NAME.fullmatch(sha256):
            raise InputError(f"{sha256[:80]!r} is not the SHA-256 of anything.")
        return self._folder / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        """Return whether the blob is here."""
        return self.path(sha256).is_file()

    def size(self, sha256: str) -> int:
        """Return a blob's length in bytes.

        Raises:
            StorageError: it is not here.
        """
        try:
            return self.path(sha256).stat().st_size
        except OSError as error:
            raise StorageError(f"there is no blob {sha256}.") from error

    def put(self, data: bytes) -> str:
        """Store bytes durably and return their SHA-256 in hex.

        Raises:
            StorageError: the disk is full or read-only.
        """
        name = hashlib.sha256(data).hexdigest()
        if not self.has(name):
            durable.write(self.path(name), data, mode=0o600)
        return name

    def put_file(self, source: Path) -> str:
        """Store a copy of a file durably, without holding it in memory, and return its SHA-256 in hex.

        Raises:
            StorageError: the source cannot be read or the copy not written.
        """
        temporary = ""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=".incoming.", dir=self._folder)
            with os.fdopen(handle, "wb") as copy, source.open("rb") as original:
                shutil.copyfileobj(original, copy, _CHUNK)
            name = hash_file(Path(temporary))
            self.path(name).parent.mkdir(exist_ok=True)
            durable.move(Path(temporary), self.path(name))
        except OSError as error:
            raise StorageError(f"{source} cannot be stored: {error}.") from error
        finally:
            Path(temporary).unlink(missing_ok=True) if temporary else None
        return name

    def get(self, sha256: str) -> bytes:
        """Return a blob.

        Raises:
            StorageError: it is not here, or the disk has changed it.
        """
        try:
            data = self.path(sha256).read_bytes()
        except OSError as error:
            raise StorageError(f"there is no blob {sha256}.") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise StorageError(f"the blob {sha256} is damaged on disk.", "Remove the file; it will be fetched or made again.")
        return data

    def remove(self, sha256: str) -> None:
        """Remove a blob if it is here."""
        self.path(sha256).unlink(missing_ok=True)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hex, read in pieces.

    Raises:
        OSError: it cannot be read.
    """
    running = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            running.update(chunk)
    return running.hexdigest()
