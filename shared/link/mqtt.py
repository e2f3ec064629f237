"""The MQTT adapter: the only file that knows paho. A connection that comes back by itself, and a bounded way out.

Rules, in order:
1. TLS with the caller's context; `expect_peer` looks at the connection before anything is said on it, and may refuse it.
2. TCP_NODELAY always (paho never sets it: 46 ms a round trip against 2), little unsent data in the kernel, so that control does
   not wait behind bulk there, and the bbr congestion control where the kernel has it.
3. A lost connection is tried again for ever with full-jitter back-off. Every connection is a new paho client: nothing that was
   queued for an old connection is sent on a new one, the session above decides what is sent again.
4. `publish` says False when not connected, or when too much is unwritten or unacknowledged; it never waits and never raises. A drained
   queue and a PUBACK free room and mean nothing else. Who has control and bulk to send keeps little unwritten: how much is on the
   way is the kernel's congestion control to decide, and what waits here cannot be overtaken.
5. MQTT 3.1.1 is spoken, and 5 to a broker that refuses 3.1.1; nothing here needs what only one of them has.
6. Callbacks come from the adapter's threads; what they raise is logged and dropped.
"""

from __future__ import annotations

import random
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from shared import clock, log
from shared.errors import TerraceError
from shared.link.dial import dial
from shared.link.proxy import NO_PROXY, ProxyRule

CONNECTED, DISCONNECTED, CALLBACK_FAILED = "mqtt_connected", "mqtt_disconnected", "mqtt_callback_failed"
FIRST_BACKOFF_S = 0.25
UNSENT_BYTES = 32 << 10
MOST_UNACKNOWLEDGED = 4096
WRONG_VERSION = (0x80, 0x82, 0x84)
"""Reasons with which a broker refuses a version: 0x84 in its own; paho says 0x80 for that under 3.1.1, and 0x82 for 3.1.1's own word."""
PROTOCOL_ERROR = 0x82
KEEPALIVE_S, SESSION_S = 15, 86_400
_STEADY_S = 5.0
_CONNECT_TIMEOUT_S = 5.0


class _Dialling(Client):
    """A paho client that connects by our own `dial` and tells when its queue is empty.

    paho's way through a proxy takes a package of its own and cannot give a password. Its callback for an empty queue is missed when
    the loop is faster than `publish`; every publication is followed by a `loop_write`, though.
    """

    def __init__(self, proxy: ProxyRule, on_written: Callable[[Client], None], *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._proxy_rule = proxy
        self._on_written = on_written

    def loop_write(self) -> MQTTErrorCode:
        """Write what is queued, and tell when nothing is left."""
        code = super().loop_write()
        if not self.want_write():
            self._on_written(self)
        return code

    def _create_socket_connection(self) -> socket.socket:
        return dial(self._host, self._port, self._proxy_rule, timeout_s=self._connect_timeout)


class MqttClient:
    """A client of one broker.

    Args:
        host: the broker's, as its certificate has it.
        port: the broker's.
        context: TLS, with our certificate; None speaks plain TCP (a plant's own broker, never a region's).
        client_id: the certificate's common name.
        credentials: name and password for a broker that goes by these.
        expect_peer: called with the TLS connection; raises a TerraceError when the other side is not the right one.
        on_message: called with topic and payload.
        on_state: called with True after a connection and its subscriptions were made, with False after it was lost.
        on_room: called when all that was published has been written to the connection, and when a publication was acknowledged.
        is_persistent: the broker keeps subscriptions and messages while we are away.
        queue_bytes: published bytes that may be unacknowledged.
        unwritten_bytes: those of them that the kernel need not have taken yet; None is as many.
        longest_backoff_s: between two attempts to connect.
        proxy: which HTTP proxy the broker is reached through, if any.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        context: ssl.SSLContext | None,
        client_id: str,
        credentials: tuple[str, str] | None = None,
        expect_peer: Callable[[ssl.SSLSocket], object] | None = None,
        on_message: Callable[[str, bytes], None],
        on_state: Callable[[bool], None] | None = None,
        on_room: Callable[[], None] | None = None,
        is_persistent: bool = False,
        queue_bytes: int = 4 << 20,
        unwritten_bytes: int | None = None,
        longest_backoff_s: float = 5.0,
        proxy: ProxyRule = NO_PROXY,
    ) -> None:
        self._address = (host, port)
        self._context = context
        self._client_id = client_id
        self._credentials = credentials
        self._expect_peer = expect_peer
        self._on_message = on_message
        self._on_state = on_state
        self._on_room = on_room
        self._is_persistent = is_persistent
        self._queue_bytes = queue_bytes
        self._unwritten_bytes = queue_bytes if unwritten_bytes is None else unwritten_bytes
        self._longest_backoff = longest_backoff_s
        self._proxy = proxy
        self._log = log.get("mqtt")
        self._version = MQTTProtocolVersion.MQTTv311
        self._lock = threading.Lock()
        self._filters: list[str] = []
        self._current: Client | None = None
        self._sizes: dict[int, int] = {}
        self._early: set[int] = set()
        self._unacknowledged = 0
        self._unwritten = 0
        self._lost = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self.last_error = ""
        self.connections = 0

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted the connection that is open now."""
        return self._current is not None

    @property
    def unacknowledged(self) -> int:
        """How many publications the broker has not acknowledged; none are after a connection was lost, whose ones may be lost too."""
        with self._lock:
            return len(self._sizes)

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Close the connection and end."""
        self._stopping.set()
        self._lost.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_CONNECT_TIMEOUT_S + 2)

    def subscribe(self, filters: Sequence[str]) -> None:
        """Subscribe now and at every later connection; doing it again brings retained messages again."""
        self._filters += [topic for topic in filters if topic not in self._filters]
        if filters and (client := self._current) is not None:
            client.subscribe([(topic, 1) for topic in filters])

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Subscribe no longer; what is on its way may still come."""
        self._filters = [topic for topic in self._filters if topic not in filters]
        if filters and (client := self._current) is not None:
            client.unsubscribe(list(filters))

    def has_room(self, size: int) -> bool:
        """Whether `publish` would take `size` more bytes now."""
        with self._lock:
            is_free = not self._sizes or self._unacknowledged + size <= self._queue_bytes
            is_written = not self._unwritten or self._unwritten + size <= self._unwritten_bytes
            return self._current is not None and is_free and is_written and len(self._sizes) < MOST_UNACKNOWLEDGED

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Publish; returns False when that is not possible now. True is no promise that anybody gets it."""
        client = self._current
        if client is None or not self.has_room(len(payload)):
            return False
        with self._lock:  # before the packet is queued: it may be written before `publish` returns
            self._unwritten += len(payload)
        try:
            info = client.publish(topic, payload, qos=qos, retain=retain)
        except (ValueError, RuntimeError, OSError) as error:
            self.last_error = str(error)
            return False
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        with self._lock:  # not held while paho publishes: it calls back under locks of its own
            if info.mid in self._early:
                self._early.discard(info.mid)
            elif client is self._current:
                self._sizes[info.mid] = len(payload)
                self._unacknowledged += len(payload)
        return True

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = clock.monotonic()
            self._connect_once()
            failures = 0 if clock.monotonic() - began > _STEADY_S else failures + 1
            longest = min(self._longest_backoff, FIRST_BACKOFF_S * 2.0 ** min(failures, 10))
            self._stopping.wait(random.random() * longest)  # noqa: S311 - jitter, not a secret

    def _connect_once(self) -> None:
        """Live through one connection, from the attempt to its end."""
        self._lost.clear()
        client = self._new_client()
        try:
            self._connect(client)
            client.loop_start()
            while not self._stopping.is_set() and not self._lost.wait(timeout=1.0):
                continue
        except (OSError, ValueError, TerraceError) as error:
            self.last_error = str(error)
            self._lost.set()
        was_connected = self._end(client)
        client.disconnect()
        client.loop_stop()
        if (left := client.socket()) is not None:
            left.close()
        if was_connected:
            self._log.info(DISCONNECTED, reason=self.last_error)
            self._call(self._on_state, False)

    def _end(self, client: Client) -> bool:
        """Forget a connection; returns whether it was the accepted one."""
        with self._lock:
            was_current = self._current is client
            self._current = None
            self._sizes.clear()
            self._early.clear()
            self._unacknowledged = self._unwritten = 0
        return was_current

    def _connect(self, client: Client) -> None:
        host, port = self._address
        if self._version is MQTTProtocolVersion.MQTTv311:
            client.connect(host, port, keepalive=KEEPALIVE_S)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_S if self._is_persistent else 0
        client.connect(host, port, keepalive=KEEPALIVE_S, clean_start=not self._is_persistent, properties=properties)

    def _new_client(self) -> Client:
        client = _Dialling(
            self._proxy,
            self._written,
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=self._version,
            clean_session=not self._is_persistent if self._version is MQTTProtocolVersion.MQTTv311 else None,
            reconnect_on_failure=False,
        )
        if self._context is not None:
            client.tls_set_context(self._context)
        if self._credentials is not None:
            client.username_pw_set(*self._credentials)
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(MOST_UNACKNOWLEDGED)
        client.on_socket_open = self._opened
        client.on_connect = self._accepted
        client.on_disconnect = self._disconnected
        client.on_message = self._arrived
        client.on_publish = self._acknowledged
        return client

    def _opened(self, client: Client, userdata: object, connection: Any) -> None:
        del client, userdata
        tune(connection)
        if self._expect_peer is not None and isinstance(connection, ssl.SSLSocket):
            self._expect_peer(connection)

    def _accepted(self, client: Client, userdata: object, flags: ConnectFlags, code: ReasonCode, properties: Properties | None) -> None:
        del userdata, flags, properties
        if code.is_failure:
            if code.value in WRONG_VERSION:
                self._speak_the_other_version()
            self.last_error = f"the broker refuses us: {code}"
            self._lost.set()
            return
        if self._filters:
            client.subscribe([(topic, 1) for topic in self._filters])
        with self._lock:
            self._current = client
            self.connections += 1
        self._log.info(CONNECTED, host=self._address[0], port=self._address[1])
        self._call(self._on_state, True)

    def _disconnected(
        self, client: Client, userdata: object, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        del userdata, flags, properties
        if not self._lost.is_set():  # else the reason is known already
            if client is not self._current and code.value == PROTOCOL_ERROR:
                self._speak_the_other_version()
            self.last_error = f"the connection was closed: {code}"
            self._lost.set()

    def _speak_the_other_version(self) -> None:
        old = MQTTProtocolVersion.MQTTv311
        self._version = MQTTProtocolVersion.MQTTv5 if self._version is old else old

    def _arrived(self, client: Client, userdata: object, message: MQTTMessage) -> None:
        del client, userdata
        self._call(self._on_message, message.topic, bytes(message.payload))

    def _acknowledged(self, client: Client, userdata: object, mid: int, code: ReasonCode, properties: Properties) -> None:
        del userdata, code, properties
        with self._lock:
            if client is not self._current:
                return
            size = self._sizes.pop(mid, None)
            if size is None:
                self._early.add(mid)  # faster than `publish` could note it
            else:
                self._unacknowledged -= size
        self._call(self._on_room)

    def _written(self, client: Client) -> None:
        """Nothing is queued any more. What is published just now may be counted as written too early, never too late."""
        with self._lock:
            had_any = client is self._current and self._unwritten > 0
            if had_any:
                self._unwritten = 0
        if had_any:
            self._call(self._on_room)

    def _call(self, callback: Callable[..., None] | None, *arguments: object) -> None:
        if callback is None:
            return
        try:
            callback(*arguments)
        except Exception as error:  # noqa: BLE001 - a caller's defect must not end the connection's thread
            self._log.exception(CALLBACK_FAILED, error=str(error))


def tune(connection: socket.socket) -> None:
    """Set the socket options of rule 2; those the kernel does not have are left out."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in (("TCP_NOTSENT_LOWAT", UNSENT_BYTES), ("TCP_USER_TIMEOUT", 20_000), ("TCP_CONGESTION", b"bbr")):
        option = getattr(socket, name, None)
        if option is not None:
            try:
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
            except OSError:
                continue  # this kernel does not know it; the link works without
