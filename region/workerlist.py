"""Which intake workers run beside the daemon: `<state>/workers.json`, a list of names, written by `terrace region worker add` and `remove`.

The daemon looks at it every second. Its own worker (the first identity in the folder `workers`) always runs and is not listed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from shared import durable
from shared.errors import StorageError


def read_workers(path: Path) -> tuple[str, ...]:
    """Return the listed names, sorted.

    Raises:
        StorageError: the file is damaged.
    """
    try:
        return tuple(sorted(set(msgspec.json.decode(path.read_bytes(), type=list[str]))))
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.MsgspecError) as error:
        raise StorageError(f"the list of intake workers {path} cannot be read: {error}.", "Correct or remove it.") from error


def write_workers(path: Path, names: Iterable[str]) -> None:
    """Replace the list.

    Raises:
        StorageError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    durable.write(path, msgspec.json.format(msgspec.json.encode(sorted(set(names))), indent=1), mode=0o600)
