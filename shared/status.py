"""A daemon's local status socket: connect, read one JSON object, done.

Commands and the testbed ask it instead of opening a second connection with the daemon's identity (which would start a takeover war on
the broker).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.errors import LinkError
from shared.localsocket import LocalServer, ask

PATIENCE_S = 2.0


class StatusServer:
    """Serve what `provide` returns to whoever connects.

    Args:
        path: where the socket is made, in a folder that exists.
        provide: called per connection, from the server's thread; returns something JSON can hold.
    """

    def __init__(self, path: Path, provide: Callable[[], dict[str, Any]]) -> None:
        self._server = LocalServer(path, lambda _: provide(), patience_s=PATIENCE_S, name="status")

    def start(self) -> None:
        """Make the socket and begin to answer.

        Raises:
            LinkError: it cannot be made.
        """
        self._server.start()

    def stop(self) -> None:
        """Close the socket and remove it."""
        self._server.stop()


def read_status(path: Path, *, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
    """Ask a running daemon for its status.

    Raises:
        LinkError: nobody listens there, or the answer is no JSON object.
    """
    try:
        answer = ask(path, b"", timeout_s=timeout_s)
    except (OSError, ValueError) as error:
        raise LinkError(f"no daemon answers at {path}: {error}.", "Is it running, with this state folder?") from error
    if not isinstance(answer, dict):
        raise LinkError(f"the daemon at {path} sent no status.")
    return answer
