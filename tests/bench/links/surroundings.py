"""What can go wrong around a process: its disk is full, its clock is set."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

from shared.errors import DependencyError
from tests.bench.links.compiling import compiled

DAY_S = 86400


class SmallDisk:
    """A file system of its own for one folder, small enough to fill. It lives in memory and outlives every kill.

    Args:
        folder: where it is mounted; made when missing.
        megabytes: its size, in 2^20 bytes.
    """

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._megabytes = megabytes

    def start(self) -> None:
        """Mount it.

        Raises:
            DependencyError: mounting is not allowed here.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={self._megabytes}m,mode=0700", "terrace-bench", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise DependencyError(f"a small disk cannot be mounted: {done.stderr.strip()}.", "Run as root, outside a restricted container.")

    def stop(self) -> None:
        """Unmount it, with all that lies on it."""
        subprocess.run(["umount", "-l", str(self.folder)], capture_output=True)

    def fill(self) -> None:
        """Take all space that is left."""
        with (self.folder / "filler").open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    def free(self) -> None:
        """Give the space back."""
        (self.folder / "filler").unlink(missing_ok=True)


class SteppedClock:
    """The wall clock of the processes started with `environment()`; the monotonic clock stays true.

    Args:
        folder: for the library and its file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "clock"
        self._library = Path()

    def start(self) -> None:
        """Compile the library; the clock is right.

        Raises:
            DependencyError: it cannot be compiled.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._library = compiled("clockstep", self._folder, "-shared", "-fPIC", "-ldl")
        self._path.write_bytes(bytes(8))

    def environment(self) -> dict[str, str]:
        """Return the environment of a process with this clock."""
        return {**os.environ, "LD_PRELOAD": str(self._library), "TERRACE_CLOCK": str(self._path)}

    def step(self, seconds: int) -> None:
        """Set the clock so many seconds ahead of the true time, also for processes that run."""
        with self._path.open("r+b") as file:  # in place: the processes have mapped it
            file.write(struct.pack("<q", seconds))
