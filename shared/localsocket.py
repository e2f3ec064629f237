"""A local socket on which a process answers others of its machine: one connection, one JSON object back, done.

A Unix socket of mode 0600, so whoever may use its folder as this user may ask. Not here: what is asked and answered (shared.status,
edge.preview.door), and lines that stay open between processes of one daemon (region.daemonline).
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
Answers = Callable[[socket.socket], dict[str, Any]]


class LocalServer:
    """Answers whoever connects, one after the other.

    Args:
        path: where the socket is made, in a folder that exists.
        answer: called with each connection, from the server's thread; returns something JSON can hold.
        patience_s: how long one asker may hold up the next.
        name: of the thread.
    """

    def __init__(self, path: Path, answer: Answers, *, patience_s: float, name: str) -> None:
        self._path = path
        self._answer = answer
        self._patience_s = patience_s
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

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
            self._path.chmod(0o600)
        except OSError as error:
            raise LinkError(f"the socket {self._path} cannot be made: {error}.") from error
        server.listen(8)
        self._socket = server
        self._thread.start()

    def stop(self) -> None:
        """Close the socket and remove it."""
        if self._socket is not None:
            self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._thread.join(timeout=self._patience_s)
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        server = self._socket
        while server is not None:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(self._patience_s)
                try:
                    connection.sendall(json.dumps(self._answer(connection)).encode())
                except OSError:
                    continue  # the asker went away


def ask(path: Path, words: bytes, *, timeout_s: float) -> Any:
    """Say something to a local server and return its answer, whatever JSON it is.

    Raises:
        OSError: nobody listens there, or it took too long.
        ValueError: the answer is no JSON.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout_s)
        with short_address(path) as address:
            client.connect(address)
        if words:
            client.sendall(words)
        parts = []
        while chunk := client.recv(65536):
            parts.append(chunk)
    return json.loads(b"".join(parts))


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
