"""Frame numbers that never repeat: each stream reserves blocks of numbers durably before it uses them.

Rules, in order:
1. A block is on disk (written aside, synced, renamed) before its first number is given out, so that a kill -9 at any moment skips
   numbers but repeats none: (stream, number) names one frame for as long as the state folder lives.
2. A damaged file is set aside, named in the log, and numbering goes on from the clock (milliseconds since 1970), far above what
   was given out before.
3. A disk that cannot be written any more stops no stream: numbering goes on from the clock in the same way, and on disk again as soon
   as that can be written. Only a process that has never been able to write gives out none.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from shared import clock, log
from shared.errors import StorageError

BLOCK = 4096
SET_ASIDE, NOT_KEPT = "frame_numbers_set_aside", "frame_numbers_not_kept"


class FrameNumbers:
    """The durable counter of every stream of this device.

    Args:
        path: a JSON file in the state folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next: dict[str, int] | None = None
        self._from_clock: dict[str, int] = {}
        self._lock = threading.Lock()

    def reserve(self, stream: str, count: int = BLOCK) -> int:
        """Reserve `count` numbers and return the first.

        Raises:
            StorageError: not even the first reservation of this process can be written; nothing is reserved.
        """
        with self._lock:
            known = dict(self._next if self._next is not None else self._read())
            first = max(known.get(stream, known.get("", 0)), self._from_clock.get(stream, 0))
            known[stream] = first + count
            try:
                self._write(known)
            except StorageError as error:
                if self._next is None:
                    raise
                return self._without_disk(stream, count, error)
            self._next = known
            return first

    def _without_disk(self, stream: str, count: int, error: StorageError) -> int:
        if not self._from_clock:
            log.get("numbers").error(NOT_KEPT, file=str(self._path), reason=error.message)
        first = max(int(clock.wall() * 1000), self._from_clock.get(stream, 0))
        self._from_clock[stream] = first + count
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
