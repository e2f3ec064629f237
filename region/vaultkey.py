"""The vault key: 32 random bytes in a file only its owner may read. Whoever has file and vault can read the cases, which the log says."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from region.sealing import KEY_BYTES
from shared import log
from shared.errors import StorageError

KEY_IN_FILE = "vault_key_is_a_file"


def load_vault_key(path: Path, *, may_create: bool) -> bytes:
    """Return the vault key.

    Args:
        path: the key file.
        may_create: make the key when there is none; False where a vault exists that needs the old one.

    Raises:
        StorageError: missing, of another length, readable by others, or not writable.
    """
    try:
        if not path.exists() and may_create:
            _create(path)
        mode = path.stat().st_mode
        key = path.read_bytes()
    except FileNotFoundError:
        raise StorageError(f"the vault's key file {path} is missing.", "Put it back; without it the vault cannot be read.") from None
    except OSError as error:
        raise StorageError(f"the vault's key file {path} cannot be read: {error.strerror}.", "Correct its owner.") from error
    if len(key) != KEY_BYTES:
        raise StorageError(f"the vault's key file {path} has {len(key)} bytes, not {KEY_BYTES}.", "Put the right file back.")
    if mode & 0o077:
        raise StorageError(f"the vault's key file {path} can be read by others.", f"Type: chmod 600 {path}")
    log.get("vault").info(KEY_IN_FILE, path=str(path))
    return key


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
