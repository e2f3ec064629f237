"""The wire passes bytes on until it is cut, and again when it is mended."""

from __future__ import annotations

import contextlib
import signal
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioning.testbed.ports import free_ports
from provisioning.testbed.processes import Process
from tests.waiting import until

DEADLINE_S = 20.0


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while line := self.rfile.readline():
            self.wfile.write(line)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[tuple[Process, int]]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (port,) = free_ports(1)
        process = Process("wire", [f"{port}:{server.server_address[1]}"], tmp_path / "log", module="provisioning.testbed.wire")
        process.start()
        yield process, port
        process.stop()
        server.shutdown()


def dial(port: int) -> socket.socket:
    """Connect, as soon as it listens."""
    made: list[socket.socket] = []

    def connected() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            made.append(socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S))
        return bool(made)

    until(connected, "the wire to listen", within_s=DEADLINE_S)
    return made[0]


def said_back(connection: socket.socket, words: bytes) -> bytes:
    try:
        connection.sendall(words)
        return connection.recv(100)
    except ConnectionError:
        return b""


def is_refused(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S):
            return False
    except ConnectionError:
        return True


def test_cut_and_mended(wire: tuple[Process, int]) -> None:
    process, port = wire
    with dial(port) as connection:
        assert said_back(connection, b"one\n") == b"one\n"
        process.send(signal.SIGUSR1)
        deadline = time.monotonic() + DEADLINE_S
        while said_back(connection, b"two\n"):
            assert time.monotonic() < deadline, "the connection outlived the cut"
    while not is_refused(port):
        assert time.monotonic() < deadline, "new connections were let through"
    process.send(signal.SIGUSR2)
    with dial(port) as connection:
        assert said_back(connection, b"three\n") == b"three\n"
