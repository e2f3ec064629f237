"""A folder of append-only segment files, one of them being written. Knows files and syncs; what lies in them is `record`'s.

Rules, in order:
1. What `append` has returned is on the disk: one write and one fdatasync, however many records.
2. A new segment is there for good before anything is written behind its header: its folder is synced too.
3. A group that could not be written whole is cut off again as far as the disk allows, and the segment is never written again.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO

from shared.link.localkey import sync_folder
from shared.link.space import Place

_SUFFIX = ".segment"


class Segments:
    """The segment files of one spool.

    Args:
        folder: where they lie; made by `begin`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: int | None = None
        self._reading: tuple[int, BinaryIO] | None = None
        self.active = 0
        self.end = 0
        self.bytes_written = 0

    def numbers(self) -> list[int]:
        """Return which segments there are, oldest first."""
        return numbers(self.folder)

    def load(self, number: int) -> bytes:
        """Return all that lies in a segment."""
        return self._path(number).read_bytes()

    def size(self, number: int) -> int:
        """Return a segment's size in bytes."""
        return self._path(number).stat().st_size

    def begin(self, number: int, header: bytes) -> None:
        """Make a new segment and write to it from now on.

        Raises:
            OSError: the disk is full, read-only or fails.
        """
        self.close()
        self.folder.mkdir(exist_ok=True, mode=0o700)
        path = self._path(number)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _write_all(file, header)
            os.fsync(file)
            sync_folder(self.folder)
        except OSError:
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        self._file, self.active, self.end = file, number, len(header)
        self.bytes_written += len(header)

    def append(self, records: list[bytes]) -> list[Place]:
        """Write records behind one another, durably; returns where each begins.

        Raises:
            OSError: the disk is full, read-only or fails; no segment is being written any more.
        """
        if self._file is None:
            raise OSError("no segment is being written")
        group = b"".join(records)
        try:
            _write_all(self._file, group)
            os.fdatasync(self._file)
        except OSError:
            self._cut_off(self._file)
            raise
        places = []
        for record in records:
            places.append(Place(self.active, self.end))
            self.end += len(record)
        self.bytes_written += len(group)
        return places

    def read(self, place: Place, length: int) -> bytes:
        """Return what lies at a place, as much of `length` bytes as there is.

        Raises:
            OSError: the segment is not there, or the disk fails.
        """
        if self._reading is None or self._reading[0] != place.segment:
            self._stop_reading()
            self._reading = (place.segment, self._path(place.segment).open("rb", buffering=0))
        return os.pread(self._reading[1].fileno(), length, place.offset)

    def remove(self, number: int) -> None:
        """Give a segment's space back."""
        if self._reading is not None and self._reading[0] == number:
            self._stop_reading()
        self._path(number).unlink(missing_ok=True)

    def close(self) -> None:
        """Write no more."""
        self._stop_reading()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _cut_off(self, file: int) -> None:
        with contextlib.suppress(OSError):  # a scan passes over what is torn, and what is whole is the case it says it is
            os.ftruncate(file, self.end)
        self.close()

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading[1].close()
            self._reading = None

    def _path(self, number: int) -> Path:
        return segment_path(self.folder, number)


def segment_path(folder: Path, number: int) -> Path:
    """Return where a segment lies."""
    return folder / f"{number:012d}{_SUFFIX}"


def numbers(folder: Path) -> list[int]:
    """Return which segments lie in a folder, oldest first; none when there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(int(path.stem) for path in folder.iterdir() if path.suffix == _SUFFIX and path.stem.isdigit())


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
