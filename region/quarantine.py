"""Devices that are not listened to for a while: `<state>/quarantine/<device>.json`, one file each.

A file of its own each, so that the daemon, its worker processes and commands add and remove devices without overwriting one another.
Whoever reads the folder takes a file that cannot be read for a device that stays out.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from shared import durable
from shared.errors import InputError, StorageError
from shared.wire import topics

SUFFIX = ".json"


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """Since when and until when a device is not listened to (Unix seconds), and why."""

    at: float
    until: float
    reason: str


class Quarantine:
    """The folder.

    Args:
        folder: made at the first entry.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def stamp(self) -> int:
        """What changes when a device is added or removed: the folder's modification time in nanoseconds, 0 without a folder."""
        return self._folder.stat().st_mtime_ns if self._folder.exists() else 0

    def add(self, device: str, reason: str, *, now: float, until: float) -> None:
        """Keep a device out until a time (both Unix seconds).

        Raises:
            StorageError: it cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        entry = Quarantined(at=now, until=until, reason=reason[:200])
        durable.write(self._path(device), msgspec.json.encode(entry), mode=0o600)

    def release(self, device: str) -> bool:
        """Listen to a device again; returns whether it was kept out.

        Raises:
            InputError: this is no name of a device.
            StorageError: its file cannot be removed.
        """
        path = self._path(device)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(f"{path} cannot be removed: {error.strerror}.") from error
        return True

    def read(self) -> dict[str, Quarantined]:
        """Return who is kept out, by name."""
        found = sorted(self._folder.glob(f"*{SUFFIX}")) if self._folder.exists() else []
        return {path.name.removesuffix(SUFFIX): _read(path) for path in found if topics.is_device(path.name.removesuffix(SUFFIX))}

    def _path(self, device: str) -> Path:
        if not topics.is_device(device):
            raise InputError(f"{device[:80]!r} is no name of a device.", "Names look like edge-1.region-1.")
        return self._folder / f"{device}{SUFFIX}"


def _read(path: Path) -> Quarantined:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Quarantined)
    except (OSError, msgspec.MsgspecError):
        return Quarantined(at=0.0, until=float("inf"), reason="its file cannot be read: release it by name")
