"""Blobs of the mailbox: named by SHA-256, resumable, encrypted at rest, deleted after their round.

An update tells something about the data it was learned from, so it never lies in the clear: each file is AES-256-CTR under a
key of its own, HKDF(master key, salt), salt in the file's first 16 bytes. The name is the digest of the plaintext and is
verified when an upload completes and whenever a blob is read whole, so CTR's missing tag is made up for. A position is written
once: uploads only ever append, and an upload that turns out to be something else is removed.

The master key is a 0600 file; who can read it and the blobs can read updates (said in docs/security.md).
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.errors import ProtocolError, StorageError

SALT = 16
STEP_BYTES = 1 << 20
MOST_UPLOADS = 4
"""Unfinished uploads one region may have at a time."""


class Blobs:
    """A part: the folder of blobs.

    Args:
        folder: where they lie; `uploads/` below it holds unfinished ones.
        limit_bytes: what one blob may weigh.
    """

    def __init__(self, folder: Path, *, limit_bytes: int = 1 << 30) -> None:
        self._folder = folder
        self._uploads = folder / "uploads"
        self._limit = limit_bytes
        self._master = b""

    def start(self) -> None:
        """Make the folder and the key where they are missing.

        Raises:
            StorageError: the folder or the key cannot be read.
        """
        path = self._folder / "blobs.key"
        try:
            self._uploads.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():
                _create_key(path)
            self._master = path.read_bytes()
        except OSError as error:
            raise StorageError(f"the blob folder {self._folder} cannot be used: {error}.", "Check its owner and disk.") from error
        if len(self._master) != 32:
            raise StorageError(f"the blob key {path} is damaged.", "Remove it and the blobs beside it; regions send their updates again.")

    def stop(self) -> None:
        """Nothing is held open."""

    def has(self, name: str) -> bool:
        """Say whether the blob is here, complete."""
        return self._path(name).exists()

    def size(self, name: str) -> int:
        """Return a blob's size in bytes.

        Raises:
            StorageError: there is no such blob.
        """
        try:
            return self._path(name).stat().st_size - SALT
        except OSError as error:
            raise StorageError(f"there is no blob {name}.") from error

    def put(self, data: bytes) -> str:
        """Store bytes and return their name."""
        name = hashlib.sha256(data).hexdigest()
        if not self.has(name):
            part = self._uploads / f"own.{secrets.token_hex(8)}"
            self._write(part, 0, data)
            part.replace(self._path(name))
        return name

    def read(self, name: str) -> bytes:
        """Return a whole blob, verified.

        Raises:
            StorageError: it is not here, or is damaged.
        """
        data = b"".join(self.stream(name))
        if hashlib.sha256(data).hexdigest() != name:
            raise StorageError(f"the blob {name} is damaged.", "Remove it; its sender sends it again.")
        return data

    def stream(self, name: str, *, start: int = 0) -> Iterator[bytes]:
        """Yield a blob's bytes from `start` in steps of at most 1 MiB.

        Raises:
            StorageError: it is not here.
        """
        try:
            with self._path(name).open("rb") as file:
                cipher = self._cipher(file.read(SALT), start)
                file.seek(SALT + start)
                while chunk := file.read(STEP_BYTES):
                    yield cipher.update(chunk)
        except OSError as error:
            raise StorageError(f"there is no blob {name}.") from error

    def offset(self, owner: str, name: str) -> int:
        """Return how many bytes of an upload are already here (all of them when it is complete)."""
        if self.has(name):
            return self.size(name)
        part = self._part(owner, name)
        return max(part.stat().st_size - SALT, 0) if part.exists() else 0

    def append(self, owner: str, name: str, *, start: int, total: int, data: bytes) -> int:
        """Add bytes to an upload; the last ones complete it.

        Args:
            owner: the region that uploads, from its certificate.
            name: SHA-256 of the whole.
            start: position of `data`; must be the upload's offset.
            total: size of the whole.
            data: the bytes.

        Returns:
            The new offset.

        Raises:
            ProtocolError: too large, at the wrong position, too many at once, or the whole is not what its name says.
            StorageError: the disk is full.
        """
        if total > self._limit or start + len(data) > total:
            raise ProtocolError(f"an upload of {total} bytes is larger than {self._limit} or than it said.")
        if self.has(name):
            return total
        part = self._part(owner, name)
        if start != self.offset(owner, name):
            raise ProtocolError(f"the upload {name} goes on at {self.offset(owner, name)}, not at {start}.")
        if not part.exists() and len(list(self._uploads.glob(f"{owner}.*"))) >= MOST_UPLOADS:
            raise ProtocolError(f"{owner} has {MOST_UPLOADS} unfinished uploads.")
        self._write(part, start, data)
        if start + len(data) == total:
            self._complete(part, name)
        return start + len(data)

    def remove(self, name: str) -> None:
        """Delete a blob; one that is not here is no error."""
        self._path(name).unlink(missing_ok=True)

    def _complete(self, part: Path, name: str) -> None:
        digest = hashlib.sha256()
        with part.open("rb") as file:
            cipher = self._cipher(file.read(SALT), 0)
            while chunk := file.read(STEP_BYTES):
                digest.update(cipher.update(chunk))
        if digest.hexdigest() != name:
            part.unlink()
            raise ProtocolError(f"the upload {name} holds other bytes than its name says.")
        part.replace(self._path(name))

    def _write(self, part: Path, start: int, data: bytes) -> None:
        try:
            with part.open("ab") as file:
                if file.tell() < SALT:
                    file.truncate(0)
                    file.write(os.urandom(SALT))
                    file.flush()
                with part.open("rb") as reader:
                    cipher = self._cipher(reader.read(SALT), start)
                for position in range(0, len(data), STEP_BYTES):
                    file.write(cipher.update(data[position : position + STEP_BYTES]))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"the blob folder {self._folder} cannot be written: {error}.", "Free space on its disk.") from error

    def _cipher(self, salt: bytes, start: int) -> CipherContext:
        key = HKDF(hashes.SHA256(), 32, salt, b"terrace blob").derive(self._master)
        block, skip = divmod(start, 16)
        # a key of its own per file, so the counter may begin at zero
        context = Cipher(algorithms.AES(key), modes.CTR(block.to_bytes(16, "big"))).encryptor()
        context.update(bytes(skip))
        return context

    def _path(self, name: str) -> Path:
        return self._folder / _checked(name)

    def _part(self, owner: str, name: str) -> Path:
        return self._uploads / f"{owner}.{_checked(name)}"


def _checked(name: str) -> str:
    if len(name) != 64 or any(letter not in "0123456789abcdef" for letter in name):
        raise ProtocolError("a blob is named by its SHA-256 in hex.")
    return name


def _create_key(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.urandom(32))
        file.flush()
        os.fsync(file.fileno())
