"""Servers for the HTTPS client's tests: one that can be told to misbehave, and raw ones that break the protocol."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request, Response

from shared.errors import ProtocolError
from shared.link import ranges

BLOB = bytes(range(256)) * 1200  # 300 KB
SHA = hashlib.sha256(BLOB).hexdigest()


class Cloud:
    """A server that keeps uploads and serves one blob, and can be told to misbehave."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str | None]] = []
        self.connections: set[Any] = set()
        self.stored: dict[str, bytearray] = {}
        self.sizes: dict[str, int] = {}
        self.refuse: int | None = None
        self.forget_after_store = 0
        self.app = FastAPI()
        self.app.add_api_route("/blob", self.blob, methods=["GET"])
        self.app.add_api_route("/echo", self.echo, methods=["POST", "GET"])
        self.app.add_api_route("/files/{name}", self.head, methods=["HEAD"])
        self.app.add_api_route("/files/{name}", self.put, methods=["PUT"])

    def blob(self, request: Request) -> Response:
        asked = request.headers.get("range")
        self.requests.append(("GET", asked))
        try:
            piece = ranges.parse_range(asked, len(BLOB))
        except ProtocolError:
            return Response(status_code=416)
        if piece is None:
            return Response(BLOB)
        headers = {"content-range": ranges.content_range(piece)}
        return Response(BLOB[piece.start : piece.stop], status_code=206, headers=headers)

    async def echo(self, request: Request) -> Response:
        self.connections.add(request.client)
        return Response((await request.body())[::-1], headers={"X-Seen": request.headers.get("x-mine", "")})

    def head(self, name: str) -> Response:
        held = self.stored.get(name, bytearray())
        if name in self.sizes and len(held) == self.sizes[name]:
            return Response()
        return Response(status_code=404, headers={"Upload-Offset": str(len(held))})

    async def put(self, name: str, request: Request) -> Response:
        piece = ranges.parse_content_range(request.headers["content-range"])
        self.requests.append(("PUT", request.headers["content-range"]))
        held = self.stored.setdefault(name, bytearray())
        if self.refuse is not None:
            return Response("too big", status_code=self.refuse)
        if piece.start != len(held):
            return Response(status_code=409, headers={"Upload-Offset": str(len(held))})
        held += await request.body()
        self.sizes[name] = piece.size
        if self.forget_after_store:
            self.forget_after_store -= 1
            del held[-100:]
        if len(held) == piece.size:
            return Response(status_code=201)
        return Response(status_code=202, headers={"Upload-Offset": str(len(held))})


def _whole_request(connection: ssl.SSLSocket) -> bytes:
    """Read a request to its end; bytes left unread would reset the connection when it is closed."""
    data = b""
    while (at := data.find(b"\r\n\r\n")) < 0:
        data += connection.recv(65536) or b"\r\n\r\n"
    length = data.lower().split(b"content-length: ")[1:]
    missing = (int(length[0].split(b"\r\n")[0]) if length else 0) - (len(data) - at - 4)
    while missing > 0 and (piece := connection.recv(65536)):
        data, missing = data + piece, missing - len(piece)
    return data


class Raw:
    """A TLS server that answers every connection with given bytes, one list of (seconds to wait, bytes) each."""

    def __init__(self, context: ssl.SSLContext, *answers: list[tuple[float, bytes]]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._context, self._answers = context, answers
        self._stopped = threading.Event()
        self.asked: list[bytes] = []
        self.url = f"https://localhost:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Raw:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which close() would not
        self._listener.close()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        for answer in self._answers:
            try:
                raw, _ = self._listener.accept()
                with self._context.wrap_socket(raw, server_side=True) as connection:
                    self.asked.append(_whole_request(connection))
                    for wait_s, data in answer:
                        if self._stopped.wait(wait_s):
                            return
                        connection.sendall(data)
            except OSError:
                continue  # the client went away


class Answering(Raw):
    """A raw server whose answers depend on what was asked."""

    def __init__(self, context: ssl.SSLContext, *answers: Callable[[bytes], bytes]) -> None:
        super().__init__(context)
        self._functions = answers

    def _run(self) -> None:
        for answer in self._functions:
            raw, _ = self._listener.accept()
            with self._context.wrap_socket(raw, server_side=True) as connection:
                connection.sendall(answer(_whole_request(connection)))
