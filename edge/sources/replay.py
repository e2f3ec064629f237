"""A labelled data set as a stream: an `.npz` with `frames` uint8 (N, H, W, 3) and, optionally, `units`; place n is frame n.

The file may be replaced while it is read, by a rename: from the next frame on the new pictures are shown, at the same places under
the same numbers. A file of another length ends the pass; the stream opens it anew and goes on.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge.sources.base import Developed, Shot
from shared.errors import InputError
from shared.vision.frames import Pixels

REMEDY = "Give an .npz made by `terrace models build` or `terrace provision line`."


class ReplaySource:
    """Replays the frames of a data set in their order.

    Args:
        path: the `.npz`; loaded with allow_pickle=False.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._frames: Pixels | None = None
        self._units: list[str] = []
        self._seen: tuple[int, int, int] = (0, 0, 0)

    def open(self) -> int:
        """Load the data set; see `Source.open`."""
        try:
            self._seen = self._identity()
            with self._path.open("rb") as file, np.load(file, allow_pickle=False) as data:
                frames = np.asarray(data["frames"])
                units = [str(unit) for unit in data["units"]] if "units" in data else []
        except FileNotFoundError:
            raise InputError(f"there is no data set {self._path}.", REMEDY) from None
        except KeyError:
            raise InputError(f"the data set {self._path} has no array `frames`.", REMEDY) from None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
            raise InputError(f"the data set {self._path} cannot be read: {error}.", REMEDY) from error
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size or len(units) not in (0, len(frames)):
            raise InputError(f"the data set {self._path} does not hold uint8 frames of shape (N, H, W, 3), N at least 1.", REMEDY)
        self._frames, self._units = frames, units
        return len(frames)

    def rate(self) -> float:
        """A data set has no pace of its own; see `Source.rate`."""
        return 0.0

    def shots(self, first: int) -> Iterator[Shot]:
        """Yield one pass; see `Source.shots`."""
        frames = self._frames
        if frames is None:
            raise InputError(f"the data set {self._path} is not open.")
        for index in range(first, len(frames)):
            frames = self._current(frames)
            yield Shot(index=index, look=Developed(frames[index]), unit=self._units[index] if self._units else "")

    def _current(self, frames: Pixels) -> Pixels:
        """Return the pictures to show, loaded again when the file was replaced.

        Raises:
            InputError: the new file has another length, or is none.
        """
        if self._is_as_before():
            return frames
        if self.open() != len(frames) or self._frames is None:
            raise InputError(f"the data set {self._path} was replaced by one of another length.", "The stream opens it anew.")
        return self._frames

    def _is_as_before(self) -> bool:
        """Return whether the file is the one that was loaded; one that is gone for a moment is."""
        try:
            return self._identity() == self._seen
        except OSError:
            return True

    def _identity(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_ino, found.st_mtime_ns, found.st_size

    def close(self) -> None:
        """Give the memory back; see `Source.close`."""
        self._frames = None
