"""One process has a spool open: a lock that the kernel lets go when the process ends, however it ends."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from shared.errors import StorageError


def hold(path: Path) -> IO[bytes]:
    """Take the lock; it is held until the file is closed.

    Raises:
        StorageError: another process has it.
        OSError: the file cannot be made.
    """
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        remedy = "Is an agent already running with this state folder?"
        raise StorageError(f"another process has the spool beside {path} open.", remedy) from None
    return file
