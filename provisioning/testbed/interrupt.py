"""Ctrl-C held back while something must come to its end: stopping is not left half-way by who presses twice."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_back() -> Iterator[None]:
    """Let Ctrl-C take effect only after the block.

    Nothing changes where it is ignored, or outside the main thread, which alone may set what a signal does.

    Raises:
        KeyboardInterrupt: it was pressed meanwhile.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda *given: pressed.append(given[0]))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt
