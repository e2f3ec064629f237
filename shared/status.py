"""A daemon's local status socket: connect, read one JSON object, done.

The socket is a Unix socket with mode 0600 in the daemon's state folder. Commands and the testbed ask it instead of opening
a second connection with the daemon's identity (which would start a takeover war on the broker).
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared.errors import LinkError

LONGEST_PATH = 100
"""Bytes of a path up to which it is given to the kernel as it stands (its limit is 108); longer ones go through the folder."""


class StatusServer:
    """Serve what `provide` returns to whoever connects.

    Args:
        path: where the socket is made, in a folder that exists.
        provide: called per connection, from the server's thread; returns something JSON can hold.
    """

    def __init__(self, path: Path, provide: Callable[[], dict[str, Any]]) -> None:
        self._path = path
        self._provide = provide
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name="status", daemon=True)

    def start(self) -> None:
        """Make the socket and begin to answer.

        Raises:
            LinkError: it cannot be made.
        """
        self._path.unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with short_address(self._path) as address:
                server.bind(address)
        except OSError as error:
            raise LinkError(f"the socket {self._path} cannot be made: {error}.") from error
        self._path.chmod(0o600)
        server.listen(8)
        self._socket = server
        self._thread.start()

    def stop(self) -> None:
        """Close the socket and remove it."""
        if self._socket is not None:
            self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._thread.join(timeout=2)
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        server = self._socket
        while server is not None:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2)
                try:
                    connection.sendall(json.dumps(self._provide()).encode())
                except OSError:
                    continue  # the asker went away


@contextmanager
def short_address(path: Path) -> Iterator[str]:
    """Yield a path short enough for the kernel; a long one is reached through a descriptor of its folder (Linux)."""
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def read_status(path: Path, *, timeout_s: float = 2.0) -> dict[str, Any]:
    """Ask a running daemon for its status.

    Raises:
        LinkError: nobody listens there, or the answer is no JSON object.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(timeout_s)
            with short_address(path) as address:
                client.connect(address)
            parts = []
            while chunk := client.recv(65536):
                parts.append(chunk)
        answer = json.loads(b"".join(parts))
    except (OSError, ValueError) as error:
        raise LinkError(f"no daemon answers at {path}: {error}.", "Is it running, with this state folder?") from error
    if not isinstance(answer, dict):
        raise LinkError(f"the daemon at {path} sent no status.")
    return answer
