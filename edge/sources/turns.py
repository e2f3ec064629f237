"""Decoders take turns: as many decode at a time as there are cores, whatever the number of streams.

Without it a device with more streams than it can carry has so many decoders ready to run that the one thread that answers gets its turn
once in a hundred, and answers come late. With it, and with readers giving way to that thread, too much load means that fewer frames are
read; what is read is answered soon. A turn is never held while anything is waited for.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from types import TracebackType

NICENESS = 5


def give_way() -> None:
    """Lower the priority of the calling thread alone, where the system has such a thing (Linux); elsewhere nothing happens."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


class Turns:
    """A context that so many threads may be in; give one to all streams of a device.

    Args:
        places: how many, at least 1.
    """

    def __init__(self, places: int) -> None:
        self._free = threading.BoundedSemaphore(places)

    def __enter__(self) -> None:
        self._free.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._free.release()
