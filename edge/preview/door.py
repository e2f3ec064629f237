"""The local socket over which a command asks the running agent to open or close the preview: one line of JSON, one answer.

A Unix socket of mode 0600 in the state folder; the kernel says which user asks (SO_PEERCRED), and the audit log has the name.
"""

from __future__ import annotations

import pwd
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared import localsocket
from shared.errors import LinkError, TerraceError
from shared.localsocket import LocalServer

PATIENCE_S = 5.0
LONGEST_BYTES = 256
_CREDENTIALS = struct.Struct("3i")


class Door:
    """Answers commands.

    Args:
        path: of the socket, in a folder that exists.
        orders: by their word; each is called with the asking user's name, and returns what JSON can hold.
    """

    def __init__(self, path: Path, orders: dict[str, Callable[[str], dict[str, Any]]]) -> None:
        self._orders = orders
        self._server = LocalServer(path, self._obey, patience_s=PATIENCE_S, name="preview door")

    def start(self) -> None:
        """Make the socket and begin to answer.

        Raises:
            LinkError: it cannot be made.
        """
        self._server.start()

    def stop(self) -> None:
        """Close the socket and remove it."""
        self._server.stop()

    def _obey(self, connection: socket.socket) -> dict[str, Any]:
        order = self._orders.get(connection.recv(LONGEST_BYTES).decode("ascii", "replace").strip())
        if order is None:
            return {"ok": False, "message": "there is no such order."}
        try:
            return {"ok": True, **order(_user(connection))}
        except TerraceError as error:
            return {"ok": False, "message": error.message, "remedy": error.remedy}


def ask(path: Path, order: str) -> dict[str, Any]:
    """Give the running agent an order and return its answer.

    Raises:
        LinkError: nobody listens there, or it cannot obey.
    """
    try:
        answer = localsocket.ask(path, f"{order}\n".encode(), timeout_s=2 * PATIENCE_S)
    except (OSError, ValueError) as error:
        raise LinkError(f"no agent answers at {path}: {error}.", "Is it running, with this state folder?") from error
    if not isinstance(answer, dict) or not answer.get("ok"):
        said = answer if isinstance(answer, dict) else {}
        raise LinkError(str(said.get("message", "the agent gave no answer.")), str(said.get("remedy", "")))
    return answer


def _user(connection: socket.socket) -> str:
    _, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    try:
        return f"{pwd.getpwuid(user).pw_name} on this machine"
    except KeyError:
        return f"user {user} on this machine"
