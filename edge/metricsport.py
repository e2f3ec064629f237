"""The device's figures over plain HTTP on 127.0.0.1, where edge.toml asks for it: nothing secret, nothing that changes anything.

GET /metrics     Prometheus text
GET /healthz     200 `alive` while the process answers
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from edge import metrics
from shared.errors import LinkError
from shared.exposition import CONTENT_TYPE

HOST = "127.0.0.1"
PATIENCE_S = 5.0


class MetricsPort:
    """Serves what `provide` returns.

    Args:
        port: on 127.0.0.1; 0 takes a free one.
        provide: returns the status, as the status socket does.
    """

    def __init__(self, port: int, provide: Callable[[], Mapping[str, Any]]) -> None:
        self._wanted = port
        self._provide = provide
        self._server: ThreadingHTTPServer | None = None
        self._thread = threading.Thread(target=self._serve, name="metrics", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on; the wanted one before it has started."""
        return self._wanted if self._server is None else int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer.

        Raises:
            LinkError: the port is taken.
        """
        provide = self._provide

        class Answers(BaseHTTPRequestHandler):
            timeout = PATIENCE_S

            def do_GET(self) -> None:
                pages: dict[str, Callable[[], str]] = {"/metrics": lambda: metrics.text(provide()), "/healthz": lambda: "alive\n"}
                page = pages.get(self.path)
                body = b"there is nothing here\n" if page is None else page().encode()
                self.send_response(404 if page is None else 200)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                """Say nothing: a scrape every few seconds is no event."""

        try:
            self._server = ThreadingHTTPServer((HOST, self._wanted), Answers)
        except OSError as error:
            message = f"the metrics port {self._wanted} on {HOST} (metrics.port) cannot be used: {error.strerror}."
            raise LinkError(message, "Set another metrics.port, or leave it out.") from error
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(timeout=PATIENCE_S)

    def _serve(self) -> None:
        if self._server is not None:
            self._server.serve_forever(poll_interval=0.2)
