"""Work beside the running fleet: a function in a niced process of its own, that a Ctrl-C ends at once and nothing outlives."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Generic, TypeVar

from provisioning.testbed.processes import DaemonFailedError
from shared.errors import TerraceError
from shared.lifecycle import die_with_parent

Result = TypeVar("Result")
NICE = 5


class Work(Generic[Result]):
    """One function call in a process of its own.

    Args:
        function: of a module's top level.
        arguments: what it takes; pickled.
    """

    def __init__(self, function: Callable[..., Result], *arguments: object) -> None:
        context = get_context("spawn")
        self._receiver, sender = context.Pipe(duplex=False)
        self._sender = sender
        self._process = context.Process(target=_run, args=(sender, function, arguments), daemon=True)

    def start(self) -> None:
        """Begin."""
        self._process.start()
        self._sender.close()

    def is_over(self) -> bool:
        """Whether it has a result, or will never have one."""
        return self._receiver.poll() or not self._process.is_alive()

    def result(self) -> Result:
        """Return what the function returned.

        Raises:
            TerraceError: what it raised.
            DaemonFailedError: it ended without a word, or with a foreign exception.
        """
        try:
            is_good, value = self._receiver.recv()
        except EOFError:
            self._process.join()
            raise DaemonFailedError(f"a measurement ended with exit code {self._process.exitcode}.", "Is there enough memory?") from None
        if is_good:
            found: Result = value
            return found
        raise value if isinstance(value, TerraceError) else DaemonFailedError(f"a measurement failed: {value}.")

    def stop(self) -> None:
        """End it, whatever it is doing."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._receiver.close()


def _run(sender: Connection, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    """Let the fleet go first, end with the demo, and leave a Ctrl-C to it."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    try:
        sender.send((True, function(*arguments)))
    except TerraceError as error:
        sender.send((False, error))
    except Exception as error:  # noqa: BLE001 - told by the demo, which stops in order
        sender.send((False, f"{type(error).__name__}: {error}"))
