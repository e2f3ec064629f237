"""Serving HTTP: uvicorn in a thread, on a socket and a TLS context of our own, with the caller's certificate in the request's scope.

No ASGI server tells the application who called. A small subclass of uvicorn's protocols reads the certificate once per connection and
puts its DER into `scope["extensions"]["tls"]["peer_certificate"]`; `peer_from_scope` turns it into a Peer. No header and no body is
ever identity, and proxies' headers are not read.

A connection that has not sent a request within `FIRST_REQUEST_S` is closed. WebSockets are off: their protocol would drop the certificate.

Example:
    server = serve(app, host="127.0.0.1", port=8443, context=server_context(identity, client_tier="edge"), key="machines.port")
    server.start()
    ...
    server.stop()
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Literal

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shared import log
from shared.errors import LinkError
from shared.identity.chain import peer_of_certificate
from shared.identity.crl import Revocations
from shared.identity.names import Peer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

FIRST_REQUEST_S = 20.0
"""Seconds a new connection may stay silent."""
KEEP_ALIVE_S = 75
"""Seconds a connection is kept between two requests."""
GRACE_S = 3
"""Seconds running requests get when the server stops; long polls are cut then."""
START_S = 15.0
CONNECTIONS = 1000
"""Connections and requests at a time; what is above gets status 503."""
SERVER_EVENT = "http_server"


def serve(
    app: Any,
    *,
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    key: str = "port",
    protocol: Literal["httptools", "h11"] = "httptools",
) -> Server:
    """Return a server for an ASGI application; `start()` opens the port.

    Args:
        app: an ASGI application, such as FastAPI's.
        host: address to listen on.
        port: 0 takes a free one.
        context: TLS; none serves plain HTTP, for loopback listeners only.
        key: the configuration key the port stands under, for messages.
        protocol: which of uvicorn's HTTP implementations.
    """
    return Server(app, host=host, port=port, context=context, key=key, protocol=protocol)


def peer_from_scope(scope: MutableMapping[str, Any], *, tier: str, fleet: str, revoked: Revocations | None = None) -> Peer:
    """Return who sent a request.

    Args:
        scope: the request's ASGI scope.
        tier: the tier the caller must belong to.
        fleet: the fleet it must belong to.
        revoked: certificates that are no longer believed.

    Raises:
        IdentityError: the caller showed no certificate, or one of another tier or fleet, or a revoked one.
    """
    certificate = ((scope.get("extensions") or {}).get("tls") or {}).get("peer_certificate")
    peer = peer_of_certificate(certificate, tier=tier, fleet=fleet)
    if revoked is not None:
        revoked.require(peer)
    return peer


class Server:
    """An HTTP server as a part of a daemon; see `serve`."""

    def __init__(self, app: Any, *, host: str, port: int, context: ssl.SSLContext | None, key: str, protocol: str) -> None:
        self._host = host
        self._wanted = port
        self._key = key
        self._socket: socket.socket | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"http-{key}", daemon=True)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=_HttpTools if protocol == "httptools" else _H11,
                ws="none",
                loop="asyncio",
                ssl_context_factory=None if context is None else lambda *_: context,
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=CONNECTIONS,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S,
            )
        )

    @property
    def port(self) -> int:
        """Return the port it listens on; the wanted one before it has started."""
        return self._wanted if self._socket is None else int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Open the port and return when requests are answered.

        Raises:
            LinkError: the port is taken or may not be opened, or the application does not start.
        """
        _route_logs()
        self._socket = _listen(self._host, self._wanted, self._key)
        self._thread.start()
        deadline = time.monotonic() + START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise LinkError(f"the application at {self._host}:{self._wanted} did not start: {self._failure or 'see the log'}.")
            time.sleep(0.005)  # uvicorn shows that it has started by a flag alone

    def stop(self) -> None:
        """Close the port, let running requests end for `GRACE_S` seconds, then cut them."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout=GRACE_S + 5)
        if self._socket is not None:
            self._socket.close()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket] if self._socket is not None else None)
        except BaseException as error:  # noqa: BLE001 - uvicorn leaves by SystemExit; start() tells why
            self._failure = error


class _Peered(asyncio.Protocol):
    """What both of uvicorn's protocols get: the caller's certificate in every scope, and no silent connections."""

    app: Any
    cycle: Any
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _silence: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        connection = transport.get_extra_info("ssl_object")
        certificate = connection.getpeercert(binary_form=True) if connection is not None else None
        if certificate is not None:
            self.app = _with_certificate(self.app, certificate)
        self._silence = self.loop.call_later(FIRST_REQUEST_S, self._close_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._silence is not None:
            self._silence.cancel()
        super().connection_lost(exc)

    def _close_silent(self) -> None:
        if self.cycle is None:
            self.transport.close()


class _HttpTools(_Peered, HttpToolsProtocol):
    """httptools: the fast one."""


class _H11(_Peered, H11Protocol):
    """h11: the pure-Python one."""


def _with_certificate(app: App, certificate: bytes) -> App:
    async def with_certificate(scope: Scope, receive: Receive, send: Send) -> None:
        extensions = {**(scope.get("extensions") or {}), "tls": {"peer_certificate": certificate}}
        await app({**scope, "extensions": extensions}, receive, send)

    return with_certificate


def _listen(host: str, port: int, key: str) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        where = f"port {port} on {host} ({key})"
        if error.errno == errno.EADDRINUSE:
            raise LinkError(f"{where} is in use by another program.", f"Stop that program, or set {key} to a free port.") from error
        if error.errno == errno.EACCES:
            raise LinkError(f"{where} may not be opened by this user.", f"Set {key} to a port above 1023.") from error
        raise LinkError(
            f"{where} cannot be opened: {error.strerror or error}.", "Correct the host and port in the configuration."
        ) from error
    # accepted connections inherit it; asyncio leaves sockets of protocol 0 alone, and every answer would wait 40 ms for an ACK
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class _Forward(logging.Handler):
    """uvicorn's own words, as our structured log."""

    def emit(self, record: logging.LogRecord) -> None:
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else None
        log.get("serving").log(record.levelno, SERVER_EVENT, message=record.getMessage(), exception=trace)


def _route_logs() -> None:
    logger = logging.getLogger("uvicorn")
    if not any(isinstance(handler, _Forward) for handler in logger.handlers):
        logger.addHandler(_Forward())
        logger.propagate = False
        logger.setLevel(logging.WARNING)
