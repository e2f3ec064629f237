"""One HTTP request and its response over our TLS: connections kept and reused, deadlines that hold, errors in our words.

A deadline bounds the whole exchange, not each wait: before every read and write the socket's timeout is set to what is left, so a
server that sends a byte now and then gains nothing. A kept connection that the server has closed is noticed before it is used; a
request that fails on a kept connection before any answer is sent once more on a new one, if it may be (not POST).

Under TLS 1.3 a client is not told during the handshake that its certificate was refused: the connection ends at the first read.
`_explain` says so. What is *not* here: methods, bodies and files (https.py, transfer.py).
"""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from shared.clock import monotonic
from shared.errors import ConfigurationError, IdentityError, LinkError, ProtocolError, TerraceError
from shared.link.dial import dial
from shared.link.proxy import NO_PROXY, ProxyRule

REPEATABLE = {"GET", "HEAD", "PUT"}
"""Methods that may be sent again when a kept connection turns out to be dead."""


class DeadlineSocket(ssl.SSLSocket):
    """A TLS socket whose every read and write ends by `deadline` (monotonic seconds)."""

    deadline: float = float("inf")

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Read, as `socket.recv_into`."""
        self._arm()
        return super().recv_into(buffer, nbytes, flags)

    def send(self, data: Any, flags: int = 0) -> int:
        """Write, as `socket.send`."""
        self._arm()
        return super().send(data, flags)

    def _arm(self) -> None:
        left = self.deadline - monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        self.settimeout(None if left == float("inf") else left)


class Connection(http.client.HTTPConnection):
    """An HTTP connection over our TLS context, with a deadline and without Nagle's delay."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, proxy: ProxyRule) -> None:
        super().__init__(host, port)
        self._context = context
        self._proxy = proxy
        self.answered = False
        self.deadline = float("inf")

    def connect(self) -> None:
        """Open the connection and shake hands before the deadline."""
        left = self.deadline - monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        raw = dial(self.host, self.port, self._proxy, timeout_s=min(left, 10.0))
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.settimeout(min(left, 30.0))
            self.sock = self._context.wrap_socket(raw, server_hostname=self.host)
        except BaseException:
            raw.close()
            raise
        self.extend(self.deadline)

    def extend(self, deadline: float) -> None:
        """Set the deadline (monotonic seconds) of everything that follows."""
        self.deadline = deadline
        if isinstance(self.sock, DeadlineSocket):
            self.sock.deadline = deadline

    def is_stale(self) -> bool:
        """Return whether the server has closed (or spoken on) an idle connection."""
        if self.sock is None:
            return True
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))


class Exchanges:
    """Requests to one server.

    Args:
        base_url: `https://host:port`, with a path in front of every request's own if need be.
        context: our TLS context; its sockets are made `DeadlineSocket`s.
        proxy: which HTTP proxy the server is reached through, if any.
    """

    def __init__(self, base_url: str, context: ssl.SSLContext, proxy: ProxyRule = NO_PROXY) -> None:
        self.base_url = base_url.rstrip("/")
        self._url = urlsplit(self.base_url)
        self._context = context
        self._proxy = proxy
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._closed = False

    def close(self) -> None:
        """Close every connection; requests under way end with a LinkError."""
        with self._lock:
            self._closed = True
            connections = [*self._idle, *self._busy]
            self._idle.clear()
        for connection in connections:
            _cut(connection)

    @contextmanager
    def exchange(
        self, method: str, path: str, *, body: bytes, headers: Mapping[str, str], deadline: float
    ) -> Iterator[tuple[Connection, http.client.HTTPResponse]]:
        """Send a request and hold the connection while the response is read.

        Args:
            method: such as `GET`.
            path: with a leading slash.
            body: empty for none.
            headers: in addition to Host and Content-Length.
            deadline: monotonic seconds by which everything, the reading of the body included, must be done.

        Yields:
            The connection (to extend the deadline) and the response with its headers read.

        Raises:
            LinkError: the server cannot be reached, is too slow, refuses us or breaks off.
            IdentityError: the server is not one we trust.
            ProtocolError: it does not speak HTTP.
        """
        connection = self._take()
        try:
            response = self._send(connection, method, path, body, headers, deadline)
            yield connection, response
            keep = response.isclosed() and connection.sock is not None
        except TerraceError:
            _cut(connection)
            raise
        except (OSError, http.client.HTTPException) as error:
            _cut(connection)
            raise self._explain(error, answered=connection.answered) from error
        except BaseException:
            _cut(connection)
            raise
        else:
            self._give_back(connection, keep=keep)
        finally:
            with self._lock:
                self._busy.discard(connection)

    def _send(
        self, connection: Connection, method: str, path: str, body: bytes, headers: Mapping[str, str], deadline: float
    ) -> http.client.HTTPResponse:
        connection.extend(deadline)
        kept = connection.sock is not None
        target = f"{self._url.path}{path}"
        try:
            connection.request(method, target, body=body or None, headers=dict(headers))
            response = connection.getresponse()
        except (ConnectionError, ssl.SSLEOFError):  # RemoteDisconnected is a ConnectionError
            if not kept or method not in REPEATABLE:
                raise
            connection.close()
            connection.answered = False
            connection.request(method, target, body=body or None, headers=dict(headers))
            response = connection.getresponse()
        connection.answered = True
        return response

    def _take(self) -> Connection:
        host, port = self._url.hostname, self._url.port or 443
        if self._url.scheme != "https" or host is None:
            raise ConfigurationError(f"{self.base_url!r} is no https:// address.", "Write it as https://host:port.")
        with self._lock:
            if self._closed:
                raise LinkError(f"the connection to {self.base_url} was closed by us.")
            self._context.sslsocket_class = DeadlineSocket
            connection = self._idle.pop() if self._idle else Connection(host, port, self._context, self._proxy)
            self._busy.add(connection)
        if connection.sock is not None and connection.is_stale():
            connection.close()
            connection.answered = False
        return connection

    def _give_back(self, connection: Connection, *, keep: bool) -> None:
        with self._lock:
            if keep and not self._closed:
                self._idle.append(connection)
                return
        _cut(connection)

    def _explain(self, error: Exception, *, answered: bool) -> TerraceError:
        url = self.base_url
        if self._closed:
            return LinkError(f"the connection to {url} was closed by us.")
        if isinstance(error, ssl.SSLCertVerificationError):
            remedy = "Check the address, the anchors in this machine's identity folder, and both clocks."
            return IdentityError(f"the server at {url} is not one we trust: {error.verify_message}.", remedy)
        if _is_alert(error) or (not answered and isinstance(error, (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError))):
            remedy = "Check that our certificate is of this fleet, not expired and not revoked; or the server stopped just then."
            return LinkError(f"the server at {url} refused our certificate.", remedy)
        if isinstance(error, http.client.HTTPException) and not isinstance(error, (ConnectionError, http.client.IncompleteRead)):
            return ProtocolError(f"the server at {url} does not speak HTTP: {type(error).__name__}.", "Is the port right?")
        return _unreachable(url, error)


def read_body(response: http.client.HTTPResponse, limit_bytes: int) -> bytes:
    """Return the body of a response.

    Raises:
        ProtocolError: it is larger than `limit_bytes`.
        http.client.IncompleteRead: it ended early (`exchange` makes a LinkError of it).
    """
    body = response.read(limit_bytes + 1)
    if len(body) > limit_bytes:
        raise ProtocolError(f"an answer is larger than the {limit_bytes} bytes allowed for it.")
    if response.length:  # http.client returns what came before the end of the connection without a word
        raise http.client.IncompleteRead(body, response.length)
    return body


def _unreachable(url: str, error: Exception) -> LinkError:
    if isinstance(error, TimeoutError):
        return LinkError(f"the server at {url} took too long.", "Is the network slow, or the server overloaded?")
    if isinstance(error, ConnectionRefusedError):
        return LinkError(f"nobody listens at {url}.", "Is the server running, and the address right?")
    if isinstance(error, (http.client.IncompleteRead, ConnectionError)):
        return LinkError(f"the server at {url} broke off.")
    return LinkError(f"the server at {url} cannot be reached: {error}.", "Check the address and the network.")


def _is_alert(error: Exception) -> bool:
    return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")


def _cut(connection: Connection) -> None:
    """Close a connection, also under a thread that waits on it."""
    sock = connection.sock
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was closed already
    connection.close()
