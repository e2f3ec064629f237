"""The page's listener: HTTP on 127.0.0.1, a free port, only while the preview is open. What it answers to whom: rules.py.

GET  /                  the page and its parts, to anybody on this machine
POST /v1/enter          {"code"}: the token and the streams, once
GET  /v1/picture        ?stream=NAME&after=NUMBER: the next picture, JPEG, its words in `x-terrace-view`; 204: none came for a while
POST /v1/close          ends the preview

Threads that answer run at a lower priority than inference (nice 10).
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from edge.preview.rules import HEADERS, is_here, is_own_page, token_of
from shared import log
from shared.errors import LinkError, TerraceError

HOST = "127.0.0.1"
NICE = 10
PATIENCE_S, PICTURE_PATIENCE_S = 10.0, 4.0
MOST_CONNECTIONS = 8
LARGEST_BODY_BYTES = 256
FAILED = "preview_failed"
Answer = tuple[int, str, bytes, Mapping[str, str]]
"""Status, content type, body, further headers."""


class Host(Protocol):
    """Who decides about requests."""

    def page(self, path: str) -> tuple[str, bytes] | None:
        """Return type and bytes of a part of the page, None where there is none."""

    def enter(self, code: str) -> dict[str, Any] | None:
        """Return the token and what can be seen for the right code, else None."""

    def may_look(self, token: str) -> bool:
        """Whether this token may see pictures."""

    def picture(self, stream: str, after: int, timeout_s: float) -> tuple[bytes, str] | None:
        """Return the next picture and its words, None when none came in time."""

    def leave(self) -> None:
        """Note that the preview is to end."""

    def after_answer(self) -> None:
        """End the preview if it is to end: the last answer has been sent."""


class Listener:
    """The listener.

    Args:
        host: decides.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._server: _Server | None = None
        self._thread = threading.Thread(target=self._serve, name="preview", daemon=True)

    def start(self) -> int:
        """Begin to answer; returns the port.

        Raises:
            LinkError: no port can be had.
        """
        try:
            self._server = _Server((HOST, 0), partial(_Handler, self._host))
        except OSError as error:
            raise LinkError(f"the preview cannot listen on {HOST}: {error.strerror}.") from error
        self._thread.start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """End; requests under way lose their connection."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.cut()
            if self._thread is not threading.current_thread():
                self._thread.join(timeout=PATIENCE_S)

    def _serve(self) -> None:
        if self._server is not None:
            self._server.serve_forever(poll_interval=0.2)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: Callable[..., BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own, unless there are too many already."""
        with self._lock:
            if len(self._connections) >= MOST_CONNECTIONS:
                self.shutdown_request(request)
                return
            self._connections.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one connection, behind inference."""
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._connections.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser that goes away is no event, and what fails on our side is told where it is answered."""

    def cut(self) -> None:
        """Close what is still connected."""
        with self._lock:
            left = list(self._connections)
        for connection in left:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "terrace", ""
    timeout = PATIENCE_S

    def __init__(self, host: Host, *arguments: Any) -> None:
        self._host = host
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Answer a GET request."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Answer a POST request."""
        try:
            self._answer(self._post)
        finally:  # also when the browser did not wait for the answer
            self._host.after_answer()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no request that is known here."""
        del message, explain
        self.close_connection = True
        self._send(_refusal(code, "that is not understood here"))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing: what matters is in the audit log."""

    def _answer(self, method: Callable[[dict[str, str]], Answer]) -> None:
        named = {name.lower(): value for name, value in self.headers.items()}
        try:
            answer = method(named) if is_here(named.get("host", "")) else _refusal(421, "this is not the host you name")
        except TerraceError as error:
            answer = _refusal(503, error.message)
        except OSError:
            self.close_connection = True  # the browser went away
            return
        except Exception as error:  # noqa: BLE001 - a defect costs its request and is told
            log.get("preview").exception(FAILED, error=str(error))
            answer = _refusal(500, "a defect of terrace; its log says more")
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        status, kind, body, extra = answer
        self.send_response(status)
        for name, value in {**HEADERS, **extra, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        if status >= 400:  # a body that was not read is not taken for the next request
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _get(self, headers: dict[str, str]) -> Answer:
        url = urlsplit(self.path)
        if url.path != "/v1/picture":
            found = self._host.page(url.path)
            return (200, found[0], found[1], {}) if found else _refusal(404, "there is nothing here")
        if not self._host.may_look(token_of(headers)):
            return _refusal(401, "the preview is over, or was never yours")
        asked = {name: values[-1] for name, values in parse_qs(url.query).items()}
        after = asked.get("after", "-1")
        number = int(after) if after.lstrip("-").isascii() and after.lstrip("-").isdigit() and len(after) < 20 else -1
        found_picture = self._host.picture(asked.get("stream", ""), number, PICTURE_PATIENCE_S)
        if found_picture is None:
            return 204, "text/plain", b"", {}
        return 200, "image/jpeg", found_picture[0], {"x-terrace-view": found_picture[1]}

    def _post(self, headers: dict[str, str]) -> Answer:
        if not is_own_page(headers):
            return _refusal(403, "another page has no business here")
        length = headers.get("content-length", "")
        if not length.isascii() or not length.isdigit() or len(length) > 9 or int(length) > LARGEST_BODY_BYTES:
            return _refusal(413, "that is more than is taken")
        content = self.rfile.read(int(length))
        if self.path == "/v1/enter":
            found = self._host.enter(_code(content))
            return (
                (200, "application/json", json.dumps(found).encode(), {})
                if found
                else _refusal(403, "the code is not, or no longer, right")
            )
        if self.path != "/v1/close":
            return _refusal(404, "there is nothing here")
        if not self._host.may_look(token_of(headers)):
            return _refusal(401, "the preview is over, or was never yours")
        self._host.leave()
        return 204, "text/plain", b"", {"Connection": "close"}


def _code(content: bytes) -> str:
    try:
        said = json.loads(content)
    except ValueError:
        return ""
    found = said.get("code", "") if isinstance(said, dict) else ""
    return found if isinstance(found, str) else ""


def _refusal(status: int, words: str) -> Answer:
    return status, "text/plain; charset=utf-8", f"{words}\n".encode(), {}
