"""Opening a TCP connection to a host, directly or through the site's HTTP proxy, by a deadline. What is said to the proxy: proxy.py."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from shared.clock import monotonic
from shared.errors import LinkError
from shared.link.proxy import Answer, Proxy, ProxyRule, request


def dial(host: str, port: int, rule: ProxyRule, *, timeout_s: float) -> socket.socket:
    """Return a connection to a host; its timeout is what is left of `timeout_s`.

    Args:
        host: name or address; a proxy looks the name up itself.
        port: of the host.
        rule: which proxy, if any.
        timeout_s: for everything together.

    Raises:
        OSError: the host cannot be reached directly.
        LinkError: the proxy cannot be reached, refuses, or is too slow.
        ProtocolError: what answers is no proxy.
        ConfigurationError: the proxy's address cannot be used.
    """
    proxy = rule.for_host(host)
    if proxy is None:
        return socket.create_connection((host, port), timeout=timeout_s)
    deadline = monotonic() + timeout_s
    with _translated(proxy):
        connection = socket.create_connection((proxy.host, proxy.port), timeout=timeout_s)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(request(host, port, proxy))
            answer = Answer(proxy, f"{host}:{port}")
            while not answer.feed(_read(connection, deadline)):
                continue
        except BaseException:
            connection.close()
            raise
    return connection


def _read(connection: socket.socket, deadline: float) -> bytes:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)
    return connection.recv(4096)


@contextlib.contextmanager
def _translated(proxy: Proxy) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise LinkError(f"the proxy {proxy.host}:{proxy.port} does not answer in time.", "Check link.proxy.") from error
    except OSError as error:
        said = error.strerror or str(error)
        raise LinkError(f"the proxy {proxy.host}:{proxy.port} cannot be reached: {said}.", "Check link.proxy.") from error
