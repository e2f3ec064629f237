"""A broker that speaks MQTT 5 only: a real mosquitto behind a door that refuses 3.1.1, as such a broker does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from region.broker import find_program
from shared.child import Child
from shared.link.mqtt import MqttClient
from tests.brokers import free_port
from tests.waiting import until

LEVEL_AT = 8
"""Where the protocol level stands in a CONNECT of less than 128 bytes."""


class Door:
    """Answers a CONNECT of another level with `refusal`, and lets the others through to the broker."""

    def __init__(self, broker: int, *, level: int, refusal: bytes) -> None:
        self.levels: list[int] = []
        self._broker, self._level, self._refusal = broker, level, refusal
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._server.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            first = connection.recv(4096)
            self.levels.append(first[LEVEL_AT])
            if first[LEVEL_AT] != self._level:
                connection.sendall(self._refusal)
                return
            with socket.create_connection(("127.0.0.1", self._broker)) as broker:
                broker.sendall(first)
                back = threading.Thread(target=_pump, args=(broker, connection), daemon=True)
                back.start()
                _pump(connection, broker)
                back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder, port = tmp_path_factory.mktemp("plain"), free_port()
    (folder / "mosquitto.conf").write_text(f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n")
    child = Child("plain", [find_program("mosquitto"), "-c", str(folder / "mosquitto.conf")], log_path=Path(folder / "log"))
    child.start()
    until(lambda: _listens(port))
    yield port
    child.stop()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def client(port: int, name: str, got: list[bytes], *, is_persistent: bool = False) -> MqttClient:
    made = MqttClient(
        host="127.0.0.1", port=port, context=None, client_id=name, on_message=lambda _, payload: got.append(payload),
        is_persistent=is_persistent, longest_backoff_s=0.1,
    )  # fmt: skip
    made.subscribe([f"to/{name}"])
    made.start()
    until(lambda: made.is_connected, lambda: made.last_error)
    return made


@pytest.mark.parametrize("refusal", [b"\x20\x02\x00\x01", b"\x20\x02\x00\x84"], ids=["as 3.1.1 says it", "as 5 says it"])
def test_a_broker_that_speaks_5_only_is_spoken_to_in_5(broker: int, refusal: bytes) -> None:
    door, got, other = Door(broker, level=5, refusal=refusal), [], []
    away = client(door.port, "device", got, is_persistent=True)
    sender = client(broker, "region", other)
    assert door.levels == [4, 5]
    until(lambda: sender.publish("to/device", b"now") and got)
    away.stop()
    assert sender.publish("to/device", b"while away")
    back = client(door.port, "device", got, is_persistent=True)
    until(lambda: b"while away" in got)  # the session was kept under 5 too
    assert back.publish("to/region", b"up")
    until(lambda: other)
    back.stop(), sender.stop(), door.close()


def test_a_broker_that_speaks_3_1_1_only_is_found_again(broker: int) -> None:
    door = Door(broker, level=4, refusal=b"\x20\x03\x00\x84\x00")
    got: list[bytes] = []
    spoken = client(door.port, "old", got)
    assert door.levels == [4]
    spoken.stop(), door.close()
