"""A device's connection to one region: the talk with it, the MQTT client that carries it, and what came over that.

The uplink's thread opens and closes lanes as the route wants it, takes what came and sends. Closing never waits: a client that is
just connecting takes seconds to give up.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edge.dictionaries import DictionaryFetcher
from edge.fetcher import Fetcher
from shared import clock, log
from shared.errors import ProtocolError, TerraceError
from shared.identity.chain import verify_chain
from shared.identity.store import Identity
from shared.identity.tls import client_context, peer_of_connection
from shared.link.conversation import Conversation, Read
from shared.link.handshake import Handshake
from shared.link.mqtt import MqttClient
from shared.link.proxy import NO_PROXY, ProxyRule
from shared.link.serial import SerialFile
from shared.link.session import Session
from shared.wire import topics
from shared.wire.chunks import CHUNK_BYTES
from shared.wire.envelope import OVERHEAD_BYTES
from shared.wire.messages import NEWEST, SCHEMA, Answer, Command, Terms

ANNOUNCEMENT_REFUSED = "key_announcement_refused"
LARGEST_DOWN_BYTES = 64 << 10
LONGEST_INBOX = 1024
UNWRITTEN_BYTES = 32 << 10
"""As much bulk may lie before control in this process; less, and a fast link waits for the next chunk."""
MOST_CONNECTIONS_A_MINUTE = 64
"""Up to how many are counted for the status."""


class RegionAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where another region is to which this one's devices fail over."""

    region: str
    host: str
    port: int


class UplinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the region is, how to speak to it, and through which proxy.

    `fail_over` are other regions, in the order of choice, sought once the active one has been silent for `fail_over_after_s`.
    """

    host: str
    port: int
    suite: int = 1
    is_padded: bool = False
    proxy: ProxyRule = NO_PROXY
    fail_over: tuple[RegionAddress, ...] = ()
    fail_over_after_s: float = 30.0


class Heard(NamedTuple):
    """Something a region has said: what may be deleted, an answer or a command, and whether it can be believed (a refresh cannot)."""

    stored: list[int]
    word: Answer | Command | None
    is_authentic: bool


class Lane:
    """The connection to one region.

    Args:
        address: the region's broker.
        settings: how to speak to it.
        identity: the device's.
        state: the state folder.
        wake: called when something has come or there is room again, on the adapter's thread.
        fetch_key: fetches the signed key announcement from the region's relay; None relies on MQTT alone.
        dictionaries: those at hand, and how to fetch the region's.
    """

    def __init__(
        self,
        address: RegionAddress,
        *,
        settings: UplinkSettings,
        identity: Identity,
        state: Path,
        wake: Callable[[], None],
        fetch_key: Callable[[], bytes] | None,
        dictionaries: DictionaryFetcher,
    ) -> None:
        self.region = address.region
        self.session = Session(random=random.SystemRandom().random)
        shelf = dictionaries.folder.shelf
        handshake = make_handshake(
            identity,
            settings.suite,
            region=address.region,
            terms=lambda: Terms(schema=SCHEMA, is_padded=settings.is_padded, dictionaries=shelf.digests),
        )
        self.conversation = Conversation(handshake=handshake, session=self.session, clock=clock.monotonic, shelf=shelf)
        self._dictionaries = dictionaries
        self.dropped: Counter[str] = Counter()
        self.bytes_sent = 0
        self._address = address
        self._settings = settings
        self._identity = identity
        self._device = identity.peer.common_name
        self._wake = wake
        self._serial = SerialFile(state / f"key-serial.{address.region}")
        self._fetcher = None if fetch_key is None else Fetcher(fetch_key, lambda data: self._arrived(topics.KEY_ANNOUNCEMENT, data))
        self._inbox: deque[tuple[str, bytes]] = deque(maxlen=LONGEST_INBOX)
        self._states: deque[bool] = deque()
        self._connected_at: deque[float] = deque(maxlen=MOST_CONNECTIONS_A_MINUTE)
        self._mqtt: MqttClient | None = None

    def begin(self, spool_id: bytes) -> None:
        """Take up what is known of the region.

        Raises:
            StorageError: the state folder cannot be read.
        """
        self.conversation.begin((), spool_id=spool_id, lowest_serial=self._serial.read())

    def open(self) -> None:
        """Begin to connect, unless that was done; a region that is away is no error.

        Raises:
            IdentityError: the identity's files cannot be used for TLS.
        """
        if self._mqtt is None:
            self._mqtt = self._new_client()
            self._mqtt.subscribe([topics.down_filter(self._device), topics.KEY_ANNOUNCEMENT, topics.REFRESH])
            self._mqtt.start()

    def close(self, *, wait: bool = False) -> None:
        """End the connection."""
        client, self._mqtt = self._mqtt, None
        if client is not None and wait:
            client.stop()
        elif client is not None:
            threading.Thread(target=client.stop, name="close-lane", daemon=True).start()

    def take(self, now: float) -> Iterator[Heard]:
        """Yield what the region has said since the last call."""
        while self._states:
            self._states.popleft()
            self.conversation.reconnected()
        while self._inbox:
            topic, payload = self._inbox.popleft()
            try:
                heard = self._take(topic, payload, now)
            except ProtocolError:
                self.dropped["protocol"] += 1
            except TerraceError as error:
                self.dropped["announcement"] += 1
                log.get("uplink").warning(ANNOUNCEMENT_REFUSED, region=self.region, reason=error.message)
            else:
                if heard is not None:
                    yield heard

    def keep_epoch(self, now: float) -> None:
        """Renew the epoch, and ask for the region's key, where that is due."""
        self.conversation.renew(now=now, wall=clock.wall())
        if self._mqtt is not None and self.is_connected and self.conversation.wants_key(now):
            self._mqtt.subscribe([topics.KEY_ANNOUNCEMENT])  # again: brings the retained one
            if self._fetcher is not None:
                self._fetcher.fetch()
        if self.conversation.is_open:
            self._dictionaries.want(self.conversation.missing_dictionaries)

    def send(self, now: float, *, read: Read, telemetry: Callable[[], bytes]) -> None:
        """Send what there is to send and room for.

        What cannot be published was lost on the way, like anything that a broker loses, and is sent again.
        """
        while self.has_room:
            outgoing = self.conversation.next(now, read=read, telemetry=telemetry)
            if outgoing is None:
                return
            if self._mqtt is not None and self._mqtt.publish(topics.up(self._device, outgoing.kind), outgoing.data):
                self.bytes_sent += len(outgoing.data)
            else:
                self.dropped["not published"] += 1

    def wake_at(self, now: float) -> float | None:
        """Return when something is due by itself; None when nothing could be done about it now."""
        return self.conversation.wake_at(now) if self.has_room else None

    def status(self, now: float) -> dict[str, Any]:
        """Return what concerns this region alone."""
        conversation, estimate = self.conversation, self.session.estimate
        return {
            "connected": self.is_connected and conversation.is_open,
            "region": self.region,
            "broker_connected": self.is_connected,
            "connections": 0 if self._mqtt is None else self._mqtt.connections,
            "connections_last_minute": sum(now - at < 60.0 for at in tuple(self._connected_at)),
            "epoch": conversation.epoch(now),
            "credit_left": conversation.credit_left,
            "heard_s_ago": conversation.heard_s_ago(now),
            "state": self.session.answers_state.value,
            "round_trip_ms": round(estimate.round_trip_s * 1000, 3),
            "rate_bytes_per_s": round(estimate.rate_bytes_per_s),
            "error": "" if self._mqtt is None or self.is_connected else self._mqtt.last_error,
        }

    @property
    def is_connected(self) -> bool:
        """Whether the region's broker has accepted us."""
        return self._mqtt is not None and self._mqtt.is_connected

    @property
    def has_room(self) -> bool:
        """Whether a chunk could be sent now."""
        return self._mqtt is not None and self._mqtt.has_room(CHUNK_BYTES + OVERHEAD_BYTES)

    def _take(self, topic: str, payload: bytes, now: float) -> Heard | None:
        if topic == topics.REFRESH:
            return Heard([], None, is_authentic=False)
        if topic == topics.KEY_ANNOUNCEMENT:
            self._serial.write(self.conversation.announced(payload, now=now, wall=clock.wall()))
        elif topic == topics.down(self._device, "hint"):
            self.conversation.hinted(now)
        else:
            return Heard(*self.conversation.heard(payload, now=now), is_authentic=True)
        return None

    def _new_client(self) -> MqttClient:
        peer = self._identity.peer
        return MqttClient(
            host=self._address.host,
            port=self._address.port,
            context=client_context(self._identity, server_tier="region"),
            client_id=self._device,
            expect_peer=lambda connection: peer_of_connection(connection, tier="region", fleet=peer.fleet),
            on_message=self._arrived,
            on_state=self._connection_changed,
            on_room=self._wake,
            is_persistent=self.region == peer.region,
            unwritten_bytes=UNWRITTEN_BYTES,
            proxy=self._settings.proxy,
        )

    def _arrived(self, topic: str, payload: bytes) -> None:
        if len(payload) <= LARGEST_DOWN_BYTES:
            self._inbox.append((topic, payload))
            self._wake()

    def _connection_changed(self, is_connected: bool) -> None:
        if is_connected:
            self._connected_at.append(clock.monotonic())
        self._states.append(is_connected)
        self._wake()


def make_handshake(identity: Identity, suite: int, *, region: str | None = None, terms: Callable[[], Terms] = lambda: NEWEST) -> Handshake:
    """Return the handshake of a device with its region, or with another that admits it; `terms` are the device's."""
    return Handshake(
        device=identity.peer.common_name,
        region=region or identity.peer.region,
        suite=suite,
        terms=terms,
        chain=identity.chain,
        signer=identity.sign,
        verify=lambda chain: verify_chain(chain, anchors=identity.anchors, tier="region", now=clock.wall()),
        random=os.urandom,
    )
