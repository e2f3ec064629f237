"""The device's link to its region: spool -> conversation -> MQTT, and the region's words back. One thread, and the adapter's.

`offer` makes a case durable on the caller's thread and returns; everything else happens on the uplink's own thread, whose loop
reads: take what came, keep the epoch, send, delete what is confirmed, wait. What is decided is the conversation's; here it meets
the spool, the clock and the broker. Nothing the region or the broker does stops the device.
"""

from __future__ import annotations

import os
import random
import ssl
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edge.fetcher import Fetcher
from edge.reports import Reports
from shared import clock, log
from shared.errors import ProtocolError, StorageError, TerraceError
from shared.identity.chain import verify_chain
from shared.identity.store import Identity
from shared.identity.tls import client_context, peer_of_connection
from shared.link.conversation import Conversation
from shared.link.handshake import Handshake
from shared.link.mqtt import MqttClient
from shared.link.proxy import NO_PROXY, ProxyRule
from shared.link.retention import Waiting
from shared.link.serial import SerialFile
from shared.link.session import Session
from shared.link.spool import NewCase, Spool
from shared.wire import topics
from shared.wire.chunks import CHUNK_BYTES
from shared.wire.envelope import OVERHEAD_BYTES
from shared.wire.messages import SCHEMA, Answer, Command, Telemetry, Terms, UpdateReport, encode

ANNOUNCEMENT_REFUSED, STEP_FAILED = "key_announcement_refused", "uplink_step_failed"
LARGEST_DOWN_BYTES = 64 << 10
LONGEST_INBOX = 1024
REPORT_EVERY_S = 30.0
MOST_CONNECTIONS_A_MINUTE = 64
"""Up to how many are counted for the status."""
_LONGEST_PAUSE_S, _SHORTEST_PAUSE_S, _FAILURE_PAUSE_S = 1.0, 0.001, 1.0


class UplinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the region is, how to speak to it, and through which proxy.

    `queue_bytes` may be unacknowledged by the broker: more delays control.
    """

    host: str
    port: int
    suite: int = 1
    is_padded: bool = False
    queue_bytes: int = 256 << 10
    proxy: ProxyRule = NO_PROXY


class Uplink:
    """The link of one device.

    Args:
        settings: the broker and the cipher suite.
        identity: the device's.
        spool: its spool; started before and stopped after the uplink.
        state: the state folder.
        telemetry: builds what the device says of itself; the uplink fills in what it knows better (floor, spool, cases sent).
        on_answer: called with every answer to a case of this process, on the uplink's thread.
        on_command: called with every command of the region, on the uplink's thread; returns whether it was understood.
        on_refresh: called when the region announces that releases may have changed (unsigned: act on it rarely).
        fetch_key: fetches the signed key announcement from the relay; None relies on MQTT alone.
    """

    def __init__(
        self,
        *,
        settings: UplinkSettings,
        identity: Identity,
        spool: Spool,
        state: Path,
        telemetry: Callable[[], Telemetry],
        on_answer: Callable[[Answer], object],
        on_command: Callable[[Command], bool] | None = None,
        on_refresh: Callable[[], object] | None = None,
        fetch_key: Callable[[], bytes] | None = None,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._device = identity.peer.common_name
        self._spool = spool
        self._telemetry = telemetry
        self._on_answer = on_answer
        self._on_command = on_command
        self._on_refresh = on_refresh
        self._fetcher = None if fetch_key is None else Fetcher(fetch_key, lambda data: self._arrived(topics.KEY_ANNOUNCEMENT, data))
        self._log = log.get("uplink")
        self._session = Session(random=random.SystemRandom().random)
        self._conversation = Conversation(handshake=make_handshake(identity, settings), session=self._session)
        self._serial = SerialFile(state / f"key-serial.{identity.peer.region}")
        self._reports = Reports(state / "reports.bin")
        self._reported_at = float("-inf")
        self._provisional_audit_key = os.urandom(32)
        self._confirmed: set[int] = set()
        self._inbox: deque[tuple[str, bytes]] = deque(maxlen=LONGEST_INBOX)
        self._states: deque[bool] = deque()
        self._connected_at: deque[float] = deque(maxlen=MOST_CONNECTIONS_A_MINUTE)
        self._began = clock.monotonic()
        self._offered: deque[tuple[Sequence[Waiting], Sequence[int]]] = deque()
        self._dropped: Counter[str] = Counter()
        self._bytes_sent = 0
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
        self._mqtt: MqttClient | None = None

    def start(self) -> None:
        """Take up what the spool holds and begin to connect; a region that is away is no error.

        Raises:
            IdentityError: the identity's files cannot be used for TLS.
            StorageError: the state folder cannot be read.
        """
        context = client_context(self._identity, server_tier="region")
        self._conversation.begin(self._spool.waiting(), spool_id=self._spool.spool_id, lowest_serial=self._serial.read())
        self._reports.start()
        self._mqtt = self._new_client(context)
        self._mqtt.subscribe([topics.down_filter(self._device), topics.KEY_ANNOUNCEMENT, topics.REFRESH])
        self._mqtt.start()
        self._thread.start()

    def stop(self) -> None:
        """End; what is not confirmed stays in the spool."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        if self._mqtt is not None:
            self._mqtt.stop()

    def offer(self, payload: bytes, is_audit: bool, value: float) -> int | None:
        """Make one case durable and send it when its turn comes; see `offer_many`."""
        return self.offer_many([NewCase(payload=payload, is_audit=is_audit, value=value)])[0]

    def offer_many(self, cases: Sequence[NewCase]) -> tuple[int | None, ...]:
        """Make a group of cases durable in one transaction; for any thread but the inference thread, since it waits for the disk.

        Returns:
            Each case's sequence, None for one that had to give way itself.

        Raises:
            StorageError: the spool is not open. A disk that is full or fails is none: the cases wait in memory and are sent from there.
        """
        appended = self._spool.append_many(cases)
        items = [
            Waiting(sequence=sequence, size=len(case.payload), is_audit=case.is_audit, value=case.value)
            for sequence, case in zip(appended.sequences, cases, strict=True)
            if sequence is not None
        ]
        self._offered.append((items, appended.evicted))
        self._wake.set()
        return appended.sequences

    def report(self, report: UpdateReport) -> None:
        """Tell the region of an update's end; it is kept and said again until a newer one takes its place."""
        self._reports.put(report)
        self._reported_at = float("-inf")
        self._wake.set()

    def audit_key(self) -> bytes:
        """Return the key of the audit choice: the current epoch's, or a provisional one before the first epoch."""
        return self._conversation.audit_key or self._provisional_audit_key

    def status(self) -> dict[str, Any]:
        """Return the link's figures; `bytes_sent` counts MQTT payload bytes of all kinds."""
        counts, now = self._session.counts, clock.monotonic()
        return {
            "connected": self._is_connected() and self._conversation.is_open,
            "broker_connected": self._is_connected(),
            "connections": 0 if self._mqtt is None else self._mqtt.connections,
            "connections_last_minute": sum(now - at < 60.0 for at in tuple(self._connected_at)),
            "up_s": round(now - self._began, 1),
            "epoch": self._conversation.epoch(now),
            "credit_left": self._conversation.credit_left,
            "heard_s_ago": self._conversation.heard_s_ago(now),
            "bytes_sent": self._bytes_sent,
            "cases_sent": counts.cases_sent,
            "receipts": counts.receipts,
            "answers": counts.answers,
            "answers_late": counts.answers_late,
            "answers_absent": counts.answers_absent,
            "timeouts": counts.timeouts,
            "in_flight": self._session.in_flight,
            "state": self._session.answers_state.value,
            "round_trip_ms": round(self._session.round_trip_s * 1000, 3),
            "rate_bytes_per_s": round(self._session.estimate.rate_bytes_per_s),
            "dropped": dict(self._dropped + self._conversation.ignored),
            "error": "" if self._mqtt is None or self._is_connected() else self._mqtt.last_error,
        }

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                now = clock.monotonic()
                self._take_offered()
                self._take_states()
                self._take_messages(now)
                self._keep_epoch(now)
                self._send(now)
                self._delete_confirmed()
                self._wake.wait(self._pause(now))
                self._wake.clear()
            except Exception as error:  # noqa: BLE001 - the link must outlive a failing disk and our own defects; both are logged
                self._log.exception(STEP_FAILED, error=str(error))
                self._stopping.wait(_FAILURE_PAUSE_S)

    def _pause(self, now: float) -> float:
        """Return how long nothing can be done unless something comes: messages, cases and room all wake the loop."""
        at = self._conversation.wake_at(now)
        if at is None or not self._has_room():
            return _LONGEST_PAUSE_S
        return min(_LONGEST_PAUSE_S, max(_SHORTEST_PAUSE_S, at - clock.monotonic()))

    def _take_offered(self) -> None:
        while self._offered:
            items, evicted = self._offered.popleft()
            self._conversation.offered(items, evicted=evicted)

    def _take_states(self) -> None:
        while self._states:
            self._states.popleft()
            self._conversation.reconnected()

    def _take_messages(self, now: float) -> None:
        while self._inbox:
            topic, payload = self._inbox.popleft()
            try:
                self._take(topic, payload, now)
            except ProtocolError:
                self._dropped["protocol"] += 1
            except TerraceError as error:
                self._dropped["announcement"] += 1
                self._log.warning(ANNOUNCEMENT_REFUSED, reason=error.message)

    def _take(self, topic: str, payload: bytes, now: float) -> None:
        if topic == topics.KEY_ANNOUNCEMENT:
            self._serial.write(self._conversation.announced(payload, now=now, wall=clock.wall()))
        elif topic == topics.down(self._device, "hint"):
            self._conversation.hinted(now)
        elif topic == topics.REFRESH:
            if self._on_refresh is not None:
                self._on_refresh()
        else:
            stored, word = self._conversation.heard(payload, now=now)
            self._confirmed.update(stored)
            if isinstance(word, Answer):
                self._on_answer(word)
            elif word is not None and not (self._on_command and self._on_command(word)):
                self._dropped["command"] += 1  # of a later version of the region

    def _keep_epoch(self, now: float) -> None:
        self._conversation.renew(now=now, wall=clock.wall())
        if self._is_connected() and self._conversation.wants_key(now):
            self._fetch()

    def _send(self, now: float) -> None:
        if now - self._reported_at >= REPORT_EVERY_S and self._is_connected():
            self._reported_at = now
            for report in self._reports.all():
                self._conversation.control(encode(report), until=now + REPORT_EVERY_S)  # then it is said again
        while self._has_room():
            outgoing = self._conversation.next(now, read=self._spool.read, telemetry=self._full_telemetry)
            if outgoing is None:
                return
            self._publish(outgoing.kind, outgoing.data)

    def _full_telemetry(self) -> bytes:
        cases, size = self._spool.occupancy()
        telemetry = msgspec.structs.replace(
            self._telemetry(),
            floor=self._spool.floor(),
            spool_cases=cases,
            spool_bytes=size,
            evicted=self._spool.evicted(),
            cases_sent=self._session.counts.cases_sent,
            spool_in_memory=bool(self._spool.state().alarm),
        )
        return encode(telemetry)

    def _publish(self, kind: str, data: bytes) -> None:
        """Publish; what cannot be published now was lost on the way, like anything that a broker loses, and is sent again."""
        if self._mqtt is not None and self._mqtt.publish(topics.up(self._device, kind), data):
            self._bytes_sent += len(data)
        else:
            self._dropped["not published"] += 1

    def _delete_confirmed(self) -> None:
        if not self._confirmed:
            return
        try:
            self._spool.remove(self._confirmed)
            self._confirmed.clear()
        except StorageError as error:
            self._log.warning(STEP_FAILED, error=error.message)  # they stay confirmed and are deleted at the next step

    def _fetch(self) -> None:
        """Ask for the announcement on both ways: subscribing again brings the retained one, and the relay has it too."""
        if self._mqtt is not None:
            self._mqtt.subscribe([topics.KEY_ANNOUNCEMENT])
        if self._fetcher is not None:
            self._fetcher.fetch()

    def _new_client(self, context: ssl.SSLContext) -> MqttClient:
        peer = self._identity.peer
        return MqttClient(
            host=self._settings.host,
            port=self._settings.port,
            context=context,
            client_id=self._device,
            expect_peer=lambda connection: peer_of_connection(connection, tier="region", fleet=peer.fleet),
            on_message=self._arrived,
            on_state=self._connection_changed,
            on_room=self._wake.set,
            is_persistent=True,
            queue_bytes=self._settings.queue_bytes,
            proxy=self._settings.proxy,
        )

    def _arrived(self, topic: str, payload: bytes) -> None:
        if len(payload) <= LARGEST_DOWN_BYTES:
            self._inbox.append((topic, payload))
            self._wake.set()

    def _connection_changed(self, is_connected: bool) -> None:
        if is_connected:
            self._connected_at.append(clock.monotonic())
        self._states.append(is_connected)
        self._wake.set()

    def _is_connected(self) -> bool:
        return self._mqtt is not None and self._mqtt.is_connected

    def _has_room(self) -> bool:
        return self._mqtt is not None and self._mqtt.has_room(CHUNK_BYTES + OVERHEAD_BYTES)


def make_handshake(identity: Identity, settings: UplinkSettings) -> Handshake:
    """Return the handshake of a device with its own region."""
    return Handshake(
        device=identity.peer.common_name,
        region=identity.peer.region,
        suite=settings.suite,
        terms=Terms(schema=SCHEMA, is_padded=settings.is_padded),
        chain=identity.chain,
        signer=identity.sign,
        verify=lambda chain: verify_chain(chain, anchors=identity.anchors, tier="region", now=clock.wall()),
        random=os.urandom,
    )
