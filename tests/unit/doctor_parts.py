"""What the doctor's tests are told with: a real broker, a small region behind it, its relay, and servers that are wrong in one way."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from edge.config import EdgeSettings
from edge.doctor.examination import Examination
from edge.doctor.findings import Finding, Outcome
from edge.main import proxy_rule
from region.gateway import machines_app
from shared.errors import TerraceError
from shared.identity.names import Peer
from shared.identity.store import Identity
from shared.identity.tls import server_context
from shared.serving import Server, serve
from tests.brokers import Site
from tests.regions import SmallRegion
from tests.waiting import until


class Place:
    """A device's whole surroundings, each part of which can be taken away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = Site(folder, age_days=200)
        self.region = SmallRegion(self.site)
        self.revoked: set[str] = set()
        self.relay_port = 0
        self.relay = self._relay()
        self.key = b""

    def start(self) -> Place:
        self.site.broker.start()
        self.region.start()
        until(lambda: self.region.client.is_connected)
        self.key = self.region.announcement()
        assert self.region.client.publish("t/all/key", self.key, retain=True)
        self.relay.start()
        self.relay_port = self.relay.port
        return self

    def stop(self) -> None:
        for part in (self.relay, self.region, self.site.broker):
            with contextlib.suppress(TerraceError, OSError):
                part.stop()

    def settings(self, **link: Any) -> EdgeSettings:
        values = {"host": "127.0.0.1", "port": self.site.settings.port, "relay_url": f"https://127.0.0.1:{self.relay_port}", **link}
        made = {
            "name": "edge-1", "region": "region-1", "fleet": "acme", "state": str(self.folder / "state"),
            "identity": {"folder": str(self.site.edge.folder)}, "link": values,
            "streams": [{"name": "s", "kind": "replay", "path": "none.npz"}], "outputs": {"file": "events.jsonl"},
        }  # fmt: skip
        return msgspec.convert(made, EdgeSettings, dec_hook=lambda kind, value: kind(value))

    def examine(self, *, identity: Identity | None = None, clock: Callable[[], float] | None = None, **link: Any) -> dict[str, Finding]:
        """Examine with these [link] keys, and return the findings by check."""
        more: dict[str, Any] = {} if clock is None else {"clock": clock}
        settings = self.settings(**link)
        examination = Examination(settings, lambda _: identity or self.site.edge, proxy=proxy_rule(settings), patience_s=1.5, **more)
        return {found.check: found for found in examination.findings()}

    def _relay(self) -> Server:
        def is_revoked(peer: Peer) -> bool:
            return peer.common_name in self.revoked

        app = machines_app(fleet="acme", regions=("region-1",), is_revoked=is_revoked, announcement=lambda: self.key, relay=None)
        context = server_context(self.site.region, client_tier="edge")
        return serve(app, host="127.0.0.1", port=0, context=context, key="machines.port")


def outcomes(found: dict[str, Finding], outcome: Outcome) -> list[str]:
    return [check for check, one in found.items() if one.outcome is outcome]


@contextlib.contextmanager
def listening(talk: Callable[[socket.socket], None] | None = None) -> Iterator[int]:
    """A port whose connections are taken and handed to `talk`, or never answered without one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def serve_all() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                with contextlib.suppress(OSError):
                    if talk is not None:
                        talk(connection)
                        connection.close()

        threading.Thread(target=serve_all, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        for connection in held:
            connection.close()


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port like that of a machine behind a firewall that drops: the kernel answers no SYN, since the queue is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        for _ in range(4):  # more than the queue holds: the rest is never answered
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(("127.0.0.1", port))
        yield port


def tls_server(certificate: Path, key: Path, *, oldest: bool = False) -> Callable[[socket.socket], None]:
    """A conversation that shakes hands with this certificate, asks for none and closes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if oldest:
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.recv(16)

    return talk
