"""A folder with one sub-folder per class as a stream: pictures in the order of their paths, each picture a unit of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge.sources.base import Developed, Shot
from shared.errors import InputError
from shared.vision import stills
from shared.vision.frames import Pixels
from shared.vision.stills import SUFFIXES


class FolderSource:
    """Reads pictures from disk one at a time; a damaged one is left out.

    Args:
        path: the folder; `path/<class>/<picture>`, SUFFIXES only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: list[Path] = []

    def open(self) -> int:
        """List the pictures; see `Source.open`."""
        try:
            self._files = sorted(file for file in self._path.glob("*/*") if file.suffix.lower() in SUFFIXES and file.is_file())
        except OSError as error:
            raise InputError(f"the folder {self._path} cannot be listed: {error}.") from error
        if not self._files:
            raise InputError(
                f"the folder {self._path} has no pictures.", f"Put pictures ({', '.join(SUFFIXES)}) into one sub-folder per class."
            )
        return len(self._files)

    def rate(self) -> float:
        """A folder has no pace of its own; see `Source.rate`."""
        return 0.0

    def shots(self, first: int) -> Iterator[Shot]:
        """Yield one pass; see `Source.shots`."""
        for index in range(first, len(self._files)):
            file = self._files[index]
            pixels = _read(file)
            if pixels is not None:
                yield Shot(index=index, look=Developed(pixels), unit=_name(file.relative_to(self._path)))

    def close(self) -> None:
        """Nothing is held open; see `Source.close`."""


def _name(path: Path) -> str:
    """Return a path as a text that can be sent; bytes that are no UTF-8 become escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _read(file: Path) -> Pixels | None:
    """Decode one picture as RGB, or None when it is damaged or too large."""
    try:
        return stills.read(file)
    except InputError:
        return None
