"""The cache of engines built on this machine: TensorRT plans are executable code, so a plan is loaded only with our own HMAC.

Rules, in order:
1. A plan's name is the SHA-256 of everything it was built from (model, TensorRT version, compute capability, board, driver, precision,
   shapes): a change of any makes another plan, never a wrong one.
2. The folder is 0700 and owned by this user, else it is refused. The key is 32 random bytes in it, 0600.
3. A file (`planfile`) that does not verify is ignored and built anew.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from shared.engines.planfile import seal, unseal
from shared.errors import StorageError


class PlanCache:
    """Plans on disk.

    Args:
        folder: made 0700 when it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str) -> bytes | None:
        """Return a plan built here before, None when there is none that verifies.

        Raises:
            StorageError: the folder is open to others, or cannot be used.
        """
        key = self._key()
        try:
            return unseal(key, name, (self._folder / name).read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"the engine cache {self._folder} cannot be read: {error}.") from error

    def put(self, name: str, plan: bytes) -> None:
        """Keep a plan: written aside, then renamed.

        Raises:
            StorageError: it cannot be written; the engine still runs, it is only built again next time.
        """
        key = self._key()
        fresh = self._folder / f"{name}.new"
        try:
            fresh.write_bytes(seal(key, name, plan))
            fresh.chmod(0o600)
            fresh.replace(self._folder / name)
        except OSError as error:
            raise StorageError(f"the engine cache {self._folder} cannot be written: {error}.", "Free space on that disk.") from error

    def _key(self) -> bytes:
        path = self._folder / "key"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._check_folder()
            try:
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                return path.read_bytes()
            key = secrets.token_bytes(32)
            with os.fdopen(handle, "wb") as file:
                file.write(key)
        except OSError as error:
            raise StorageError(f"the engine cache {self._folder} cannot be used: {error}.") from error
        return key

    def _check_folder(self) -> None:
        about = self._folder.stat()
        if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
            raise StorageError(f"the engine cache {self._folder} is open to others.", f"Run: chmod 700 {self._folder}")
