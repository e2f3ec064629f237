"""Events to an MQTT topic of the plant's own broker: QoS 1, plain or over TLS, one JSON object per message, nothing retained.

A batch is delivered when the broker has acknowledged every message of it over one connection; a connection that ends before sends the
batch once more on the next. The broker is any MQTT 3.1.1 or 5 broker; one that refuses a topic by its access list may acknowledge all the
same (mosquitto does under 3.1.1), and nothing here can tell.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from edge.config import MqttOutputSettings
from edge.events import Event, encode
from edge.outlets import topic
from edge.outlets.credentials import read_secret_file, tls_context
from edge.outlets.delivery import DELIVERED, Attempt, again
from shared import clock
from shared.link.mqtt import MqttClient

PATIENCE_S = 10.0
QUEUE_BYTES = 1 << 20


class PlantBroker:
    """The broker.

    Args:
        settings: of this output.
        client_id: by which the broker knows us.
        names: device, region and fleet, for the topic.
    """

    kind, most, gather_s = "mqtt", 64, 0.0

    def __init__(self, settings: MqttOutputSettings, *, client_id: str, names: Mapping[str, str]) -> None:
        self._settings = settings
        self._client_id = client_id
        self._names = names
        self._stirred = threading.Event()
        self._is_stopping = False
        self._client: MqttClient | None = None
        self.target = f"{settings.host}:{settings.port} {settings.topic}"

    def check(self) -> None:
        """Read what the settings name.

        Raises:
            ConfigurationError: the topic, a file or a certificate cannot be used.
        """
        topic.check(self._settings.topic)
        self._client = self._new_client()

    def start(self) -> None:
        """Begin to connect."""
        if self._client is not None:
            self._client.start()

    def stop(self) -> None:
        """Close the connection; nothing is waited for any more."""
        self._is_stopping = True
        self._stirred.set()
        if self._client is not None:
            self._client.stop()
        self._stirred.set()

    def deliver(self, batch: Sequence[Event]) -> Attempt:
        """Publish a batch and wait until the broker has acknowledged all of it."""
        client, deadline = self._client, clock.monotonic() + PATIENCE_S
        if client is None or not self._wait(lambda: client.is_connected, deadline):
            return again(client.last_error if client and client.last_error else "it is not connected")
        connection = client.connections

        def is_lost() -> bool:
            return not client.is_connected or client.connections != connection

        for event in batch:
            name, payload = self._topic(event), encode(event).rstrip(b"\n")
            if not self._wait(lambda name=name, payload=payload: is_lost() or client.publish(name, payload), deadline) or is_lost():  # type: ignore[misc]
                return again(client.last_error or "the broker takes no more")
        # read in this order: a connection that ends forgets what was unacknowledged, and is then seen to be lost
        if not self._wait(lambda: client.unacknowledged == 0 or is_lost(), deadline) or is_lost():
            return again(client.last_error or "the broker does not acknowledge")
        return DELIVERED

    def _wait(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Wait for what the connection's callbacks bring about; returns whether it came to be."""
        while True:
            self._stirred.clear()
            if condition():
                return True
            if self._is_stopping:
                return False
            if not self._stirred.wait(max(0.0, deadline - clock.monotonic())):
                return condition()

    def _topic(self, event: Event) -> str:
        values = {"stream": event.stream, "state": event.state, "label": event.label, "source": event.source, **self._names}
        return topic.fill(self._settings.topic, values)

    def _new_client(self) -> MqttClient:
        settings = self._settings
        password = read_secret_file(settings.password_file, "outputs.mqtt.password_file") if settings.password_file else ""
        return MqttClient(
            host=settings.host,
            port=settings.port,
            context=tls_context(settings.ca, settings.certificate, settings.key, "outputs.mqtt") if settings.tls else None,
            client_id=self._client_id,
            credentials=(settings.username, password) if settings.username else None,
            on_message=lambda *_: None,
            on_state=lambda _: self._stirred.set(),
            on_room=self._stirred.set,
            queue_bytes=QUEUE_BYTES,
        )
