"""Who is not listened to any more, by name: `<state>/revoked.json` of a region (its devices) or of the cloud (its regions).

Written by `terrace region revoke` and `terrace cloud revoke`, read again by the daemon when it changes. A name here acts at once and
only here; certificates end for everybody by the authority's revocation lists (crl).
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from shared import durable
from shared.errors import IdentityError, StorageError


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One revoked machine: since when (Unix seconds) and why."""

    at: float
    reason: str = ""


class Denied:
    """The names in one file, read again when it changes.

    Args:
        path: revoked.json.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._names: frozenset[str] = frozenset()

    def require(self, name: str) -> None:
        """Let a name pass that is not revoked; asked at every request, so it looks at the file's time first.

        Raises:
            IdentityError: it is revoked.
            StorageError: the list is damaged: then nobody passes, since who is revoked is not known.
        """
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            seen = (0, 0)
        if seen != self._seen:
            self._names = frozenset(read_revoked(self._path))
            self._seen = seen
        if name in self._names:
            raise IdentityError(f"{name} is revoked.", "Issue it a new identity and take it off the list, if it is still yours.")


def read_revoked(path: Path) -> dict[str, Entry]:
    """Return who is revoked by name.

    Raises:
        StorageError: the file is damaged.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Entry])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        raise StorageError(f"the list of who is revoked {path} cannot be read: {error}.", "Correct or remove it.") from error


def write_revoked(path: Path, entries: dict[str, Entry]) -> None:
    """Replace the list.

    Raises:
        StorageError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    durable.write(path, msgspec.json.format(msgspec.json.encode(entries), indent=1), mode=0o600)
