"""Decoders take turns: as many decode at a time as there are cores, whatever the number of streams.

Without it a device with more streams than it can carry has so many decoders ready to run that the one thread that answers gets its turn
once in a hundred, and answers come late. With it, too much load means that fewer frames are read; what is read is answered at once.
A turn is never held while anything is waited for.
"""

from __future__ import annotations

import threading
from types import TracebackType


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
