"""A visit to broker and region with the device's own identity, where no agent runs: the doctor's only MQTT session.

It subscribes as the agent would, waits for the region's signed key, opens a key epoch under a spool id of its own (so that no case is
touched; the agent opens another when it starts), waits for the region's sealed word, and sends some bytes to a topic that nobody reads.
"""

from __future__ import annotations

import os
import queue
from typing import TypeVar

from edge.config import LinkSettings
from edge.doctor.observations import Address, Visited
from edge.doctor.probes import timeless
from shared.clock import Clock, monotonic
from shared.errors import ProtocolError, TerraceError
from shared.identity.chain import verify_chain
from shared.identity.store import Identity
from shared.identity.tls import peer_of_connection
from shared.link.downlink import Downlink
from shared.link.handshake import Handshake
from shared.link.mqtt import MqttClient
from shared.link.proxy import ProxyRule
from shared.wire import topics
from shared.wire.chunks import CHUNK_BYTES
from shared.wire.epoch import SPOOL_ID_BYTES
from shared.wire.messages import SCHEMA, Terms

ANSWER_S, SEND_S = 7.0, 3.0
"""Deadlines: the region's answer (it takes one opening in 5 s, and the agent may have sent one just before); sending `PIECES` pieces."""
PIECES = 16
Thing = TypeVar("Thing")


class Visit:
    """One visit.

    Args:
        address: the broker's.
        identity: the device's.
        link: [link] of edge.toml: the suite and padding the agent would use.
        rule: which proxy it goes through, if any.
        key: the announcement as the relay gave it, empty for none.
        wall: Unix seconds, by the region's clock where it is known.
        patience_s: how long the connection and the retained key are waited for.
    """

    def __init__(
        self, address: Address, identity: Identity, *, link: LinkSettings, rule: ProxyRule, key: bytes, wall: Clock, patience_s: float
    ) -> None:
        self._device = identity.peer.common_name
        self._key = key
        self._wall = wall
        self._patience_s = patience_s
        self._handshake = Handshake(
            device=self._device,
            region=identity.peer.region,
            suite=link.suite,
            terms=lambda: Terms(schema=SCHEMA, is_padded=link.padding),
            chain=identity.chain,
            signer=identity.sign,
            verify=lambda chain: verify_chain(chain, anchors=identity.anchors, tier="region", now=wall()),
            random=os.urandom,
        )
        self._arrivals: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._states: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._acknowledged: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._hint = ""
        fleet = identity.peer.fleet
        self._client = MqttClient(
            host=address.host,
            port=address.port,
            context=timeless(identity),
            client_id=self._device,
            expect_peer=lambda connection: peer_of_connection(connection, tier="region", fleet=fleet),
            on_message=lambda topic, payload: self._arrivals.put((topic, payload)),
            on_state=self._states.put,
            on_room=lambda: self._acknowledged.put(None),
            proxy=rule,
        )
        self._client.subscribe([topics.down_filter(self._device), topics.KEY_ANNOUNCEMENT])

    def make(self) -> Visited:
        """Go through it; the connection is closed when this returns."""
        self._client.start()
        try:
            if not _next(self._states, self._patience_s):
                return Visited(error=self._client.last_error)
            return self._talk()
        finally:
            self._client.stop()

    def _talk(self) -> Visited:
        announced = self._announced()
        key = self._believe(announced or self._key)
        answer_s = ANSWER_S if announced else self._patience_s
        opened_after = self._open(self._handshake, answer_s) if key == "believed" else 0.0
        rate = self._send()
        lost = _next(self._states, 0.0) is False
        return Visited(
            accepted=True,
            error=self._client.last_error if lost else "",
            lost=lost,
            delivered=bool(announced or self._hint or opened_after),
            key=key,
            hint=self._hint,
            opened=opened_after > 0,
            round_trip_s=opened_after,
            rate_bytes_per_s=rate,
        )

    def _announced(self) -> bytes:
        """Return the retained announcement, empty when the broker delivers none."""
        deadline = monotonic() + self._patience_s
        while (arrived := _next(self._arrivals, deadline - monotonic())) is not None:
            if arrived[0] == topics.KEY_ANNOUNCEMENT:
                return arrived[1]
        return b""

    def _believe(self, announcement: bytes) -> str:
        """Return "believed", why not, or nothing where there is no announcement."""
        if not announcement:
            return ""
        self._handshake.begin(spool_id=os.urandom(SPOOL_ID_BYTES), lowest_serial=0)
        try:
            self._handshake.announced(announcement, now=monotonic(), wall=self._wall())
        except TerraceError as error:
            return error.message.rstrip(".")
        return "believed"

    def _open(self, handshake: Handshake, within_s: float) -> float:
        """Open an epoch; return the seconds from the (last) opening to the region's sealed answer, 0 without one."""
        if handshake.opening is None:
            return 0.0
        downlink = Downlink(handshake.opening)
        sent, deadline = 0.0, monotonic() + within_s
        while (now := monotonic()) < deadline:
            opening = handshake.open_to_send(now)
            if opening is not None and self._client.publish(topics.up(self._device, "open"), opening):
                sent = now
            arrived = _next(self._arrivals, min(0.25, deadline - now))
            if arrived is not None and self._is_answer(downlink, *arrived):
                return max(monotonic() - sent, 1e-6)
        return 0.0

    def _is_answer(self, downlink: Downlink, topic: str, payload: bytes) -> bool:
        """Whether this is the region's word under our epoch; a hint is remembered."""
        if topic == topics.down(self._device, "hint"):
            self._hint = payload[:40].decode(errors="replace")
        if topic != topics.down(self._device, "msg"):
            return False
        try:
            return downlink.take(payload) is not None
        except ProtocolError:
            return False  # of an epoch of before

    def _send(self) -> float:
        """Send pieces to a topic that nobody reads; return the bytes per second that the broker acknowledged."""
        while not self._acknowledged.empty():
            self._acknowledged.get()  # of the opening
        began, piece = monotonic(), os.urandom(CHUNK_BYTES)
        sent = sum(self._client.publish(topics.probe(self._device), piece) for _ in range(PIECES))
        done, last = 0, began
        while done < sent and (left := began + SEND_S - monotonic()) > 0:
            try:
                self._acknowledged.get(timeout=left)
            except queue.Empty:
                break
            done, last = done + 1, monotonic()
        return done * CHUNK_BYTES / (last - began) if done else 0.0


def _next(waiting: queue.SimpleQueue[Thing], within_s: float) -> Thing | None:
    """Return what comes next, None when nothing does in time."""
    try:
        return waiting.get(timeout=max(0.0, within_s)) if within_s > 0 else waiting.get_nowait()
    except queue.Empty:
        return None
