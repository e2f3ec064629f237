"""A small real HTTP CONNECT proxy for tests, and what a bad one does instead."""

from __future__ import annotations

import contextlib
import re
import socket
import threading


class ConnectProxy:
    """Carries bytes for whoever says CONNECT and, where it wants one, the right name and password.

    Args:
        credentials: in Basic's base64; empty lets everybody through.
        says: sent in the place of an answer, and then the connection is closed; None answers as a proxy.
        is_silent: takes connections and never answers.
        port: 0 takes any.
    """

    def __init__(self, *, credentials: str = "", says: bytes | None = None, is_silent: bool = False, port: int = 0) -> None:
        self.asked: list[str] = []
        self.seen = bytearray()
        self._credentials, self._says, self._is_silent = credentials, says, is_silent
        self._server = socket.create_server(("127.0.0.1", port))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> ConnectProxy:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in (self._server, *self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            head = b""
            while b"\r\n\r\n" not in head and (data := connection.recv(4096)):
                head += data
            self.asked.append(head.decode())
            if self._is_silent:
                connection.recv(1)
            elif self._says is not None:
                connection.sendall(self._says)
            elif self._credentials and f"Proxy-Authorization: Basic {self._credentials}\r\n" not in head.decode():
                connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n\r\n")
            else:
                self._carry(connection, head.decode())

    def _carry(self, connection: socket.socket, head: str) -> None:
        found = re.match(r"CONNECT (\S+):(\d+) HTTP/1\.1\r\n", head)
        assert found, head
        try:
            target = socket.create_connection((found[1].strip("[]"), int(found[2])), 5)
        except OSError:
            connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return
        self._open.append(target)
        connection.sendall(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n")
        back = threading.Thread(target=self._pump, args=(target, connection), daemon=True)
        back.start()
        self._pump(connection, target)
        back.join()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self.seen += data
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
