"""Frame numbers that never repeat: each stream reserves blocks of numbers durably before it uses them.

Rules, in order:
1. A block is on disk (written aside, synced, renamed) before its first number is given out, so that a kill -9 at any moment skips
   numbers but repeats none: (stream, number) names one frame for as long as the state folder lives.
2. A damaged file is set aside, named in the log, and numbering goes on from the clock (milliseconds since 1970), far above what
   was given out before.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from shared import clock, log
from shared.errors import StorageError

BLOCK = 4096
SET_ASIDE = "frame_numbers_set_aside"


class FrameNumbers:
    """The durable counter of every stream of this device.

    Args:
        path: a JSON file in the state folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next: dict[str, int] | None = None
        self._lock = threading.Lock()

    def reserve(self, stream: str, count: int = BLOCK) -> int:
        """Reserve `count` numbers and return the first.

        Raises:
            StorageError: the reservation cannot be written; nothing is reserved.
        """
        with self._lock:
            known = dict(self._next if self._next is not None else self._read())
            first = known.get(stream, known.get("", 0))
            known[stream] = first + count
            self._write(known)
            self._next = known
            return first

    def _read(self) -> dict[str, int]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StorageError(f"the frame numbers in {self._path} cannot be read: {error}.", "Check the state folder.") from error
        except ValueError:
            known = None
        if isinstance(known, dict) and all(isinstance(value, int) and value >= 0 for value in known.values()):
            return known
        aside = self._path.with_suffix(".damaged")
        self._path.replace(aside)
        log.get("numbers").error(SET_ASIDE, file=str(aside))
        return {"": int(clock.wall() * 1000)}

    def _write(self, known: dict[str, int]) -> None:
        fresh = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("w", encoding="utf-8") as file:
                json.dump(known, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StorageError(f"frame numbers cannot be reserved in {self._path}: {error}.", "Free space on that disk.") from error
