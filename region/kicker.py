"""Closes a device's live connection at the broker: a connection of ours with the device's client id takes its place, and goes away again.

Rules, in order:
1. Whoever is newly denied is closed once; the access list keeps it silent when it comes back.
2. Who is kept out for flooding is closed again every `AGAIN_S`, since a flood is read off the wire even where every topic is denied.
3. At most `MOST_AT_ONCE` at a time, so that nobody's long list holds up the second's other duties.

MQTT 3.1.1, 3.1.4: a server that gets a second connection with a client id closes the first. Works on the supervised mosquitto, and on
any broker that lets the region's workers choose their client id.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable

from shared import log
from shared.link.mqtt import MqttClient

AGAIN_S = 10.0
MOST_AT_ONCE = 16
WITHIN_S = 2.0
KICKED = "device_disconnected"


class Kicker:
    """Used by one thread.

    Args:
        host: the broker's, as workers reach it.
        port: the broker's.
        context: TLS with a worker's certificate.
        expect_peer: looks at the broker's certificate.
    """

    def __init__(self, *, host: str, port: int, context: ssl.SSLContext, expect_peer: Callable[[ssl.SSLSocket], object]) -> None:
        self._host, self._port, self._context, self._expect_peer = host, port, context, expect_peer
        self._due: list[str] = []
        self._closed_at: dict[str, float] = {}

    def also(self, devices: Iterable[str]) -> None:
        """Close these connections at the next `once`."""
        self._due += sorted(devices)

    def once(self, flooders: Iterable[str], *, now: float) -> None:
        """Close what is due.

        Args:
            flooders: devices that are closed again and again.
            now: monotonic seconds.
        """
        here = frozenset(flooders)
        again = sorted(device for device in here if now - self._closed_at.get(device, float("-inf")) >= AGAIN_S)
        closed = set()
        for device in list(dict.fromkeys([*self._due, *again]))[:MOST_AT_ONCE]:
            if not self._close(device):
                break  # the broker is away: then so is the device
            closed.add(device)
        self._due = [device for device in self._due if device not in closed]
        self._closed_at = {device: at for device, at in (self._closed_at | dict.fromkeys(closed, now)).items() if device in here}

    def _close(self, device: str) -> bool:
        is_in = threading.Event()
        client = MqttClient(
            host=self._host,
            port=self._port,
            context=self._context,
            client_id=device,
            expect_peer=self._expect_peer,
            on_message=lambda *_: None,
            on_state=lambda _: is_in.set(),
        )
        client.start()
        taken_over = is_in.wait(WITHIN_S)
        client.stop()
        log.get("kicker").info(KICKED, device=device, done=taken_over)
        return taken_over
