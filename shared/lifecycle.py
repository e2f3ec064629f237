"""The life of a daemon: start parts in order, wait for a signal, stop them in the opposite order within a deadline.

A part has `start()` and `stop()`; constructors store and nothing else. A part that fails to start stops those before it.
Children die with their parent (`die_with_parent`), so that a killed daemon leaves nothing holding a port.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Sequence
from typing import Protocol

from shared import log

PR_SET_PDEATHSIG = 1
STARTED, STOPPED, STOP_FAILED = "daemon_started", "daemon_stopped", "part_stop_failed"


class Part(Protocol):
    """One thing a daemon starts and stops."""

    def start(self) -> None:
        """Begin work; raises a TerraceError when it cannot."""

    def stop(self) -> None:
        """End work and return when nothing of it is left running."""


def run(parts: Sequence[Part], *, name: str, stopped: threading.Event | None = None) -> None:
    """Start `parts`, wait for SIGTERM or SIGINT (or `stopped`), stop them in reverse.

    Raises:
        TerraceError: of the first part that could not start; those before it are stopped.
    """
    logger = log.get(name)
    done = stopped or threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: done.set())
    started: list[Part] = []
    try:
        for part in parts:
            part.start()
            started.append(part)
        logger.info(STARTED, parts=len(started))
        while not done.wait(timeout=1.0):
            continue  # a bounded wait lets signal handlers run on every platform
    finally:
        for part in reversed(started):
            try:
                part.stop()
            except Exception as error:
                logger.exception(STOP_FAILED, part=type(part).__name__, error=str(error))
        logger.info(STOPPED)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies; for `preexec_fn` and the start of child processes."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
