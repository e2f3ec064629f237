"""Many devices in one process, as the region sees them: `python -m tests.bench.links.swarm SITE`, then words on standard input.

Each has its own certificate, connection, epoch and our real conversation (handshake, session, envelope). What they lack is a disk: their
cases wait in memory, since the region is what is measured here.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from edge.lane import make_handshake
from shared.errors import TerraceError
from shared.identity.store import Identity
from shared.identity.tls import client_context
from shared.link.conversation import Conversation
from shared.link.retention import Waiting
from shared.link.session import Session
from shared.wire import topics
from shared.wire.messages import encode
from tests.bench.links import packets
from tests.bench.links.driving import a_case
from tests.bench.links.ours import telemetry
from tests.bench.links.shaped import ADDRESSES
from tests.bench.links.site import PORT
from tests.bench.links.words import answer

SUITE = 1
TICK_S = 0.25
CONNECTING = 20
"""Devices that connect at a time: the handshakes of a thousand at once would only wait for one another."""


class SwarmDevice(asyncio.Protocol):
    """One device's connection and conversation.

    Args:
        identity: the device's.
    """

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.name = identity.peer.common_name
        self.conversation = Conversation(handshake=make_handshake(identity, SUITE), session=Session(random=random.random))
        self.conversation.begin((), spool_id=os.urandom(16), lowest_serial=0)
        self.is_open = asyncio.Event()
        self.offered: dict[int, float] = {}
        self.taken_s: list[float] = []
        self._cases: dict[int, bytes] = {}
        self._packets = packets.Packets()
        self._transport: Any = None
        self._sequence = self._number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who we are."""
        self._transport = transport
        self._transport.write(packets.connect(self.name))

    def connection_lost(self, error: Exception | None) -> None:
        """A lost connection ends the measurement: nothing here cuts it."""
        self._transport = None
        if error is not None:
            sys.stderr.write(f"{self.name} lost its connection: {error}\n")

    def data_received(self, data: bytes) -> None:
        """Take what came, then send what may be sent."""
        for kind, flags, body in self._packets.feed(data):
            if kind == packets.CONNACK:
                self._transport.write(packets.subscribe([topics.down_filter(self.name), topics.KEY_ANNOUNCEMENT], 1))
            elif kind == packets.PUBLISH:
                topic, payload, number = packets.published(flags, body)
                if number:
                    self._transport.write(packets.acknowledge(number))
                self._take(topic, payload)
        self.pump()

    def offer(self, size: int) -> None:
        """Take a new case and send it as soon as the session lets it go."""
        self._sequence += 1
        payload = encode(a_case(self._sequence, os.urandom(size)))
        self._cases[self._sequence] = payload
        self.offered[self._sequence] = time.monotonic()
        self.conversation.offered([Waiting(sequence=self._sequence, size=len(payload), is_audit=False, value=1.0)], evicted=())
        self.pump()

    def pump(self) -> None:
        """Send what is due."""
        now = time.monotonic()
        self.conversation.renew(now=now, wall=time.time())
        while self._transport is not None and not self._transport.is_closing():
            outgoing = self.conversation.next(now, read=self._cases.get, telemetry=lambda: encode(telemetry()))
            if outgoing is None:
                return
            self._number = self._number % 65535 + 1
            self._transport.write(packets.publish(topics.up(self.name, outgoing.kind), outgoing.data, self._number))

    def ping(self) -> None:
        """Keep the connection alive."""
        if self._transport is not None:
            self._transport.write(packets.PINGREQ)

    def _take(self, topic: str, payload: bytes) -> None:
        now = time.monotonic()
        try:
            if topic == topics.KEY_ANNOUNCEMENT:
                self.conversation.announced(payload, now=now, wall=time.time())
            elif topic == topics.down(self.name, "hint"):
                self.conversation.hinted(now)
            else:
                stored, _ = self.conversation.heard(payload, now=now)
                self.is_open.set()
                for sequence in stored:
                    self.taken_s.append(now - self.offered.pop(sequence))
                    del self._cases[sequence]
        except TerraceError as error:
            sys.stderr.write(f"{self.name} refuses a message: {error}\n")


class Swarm:
    """All devices of one process.

    Args:
        site: the folder with their identities, edge-1 and so on.
    """

    def __init__(self, site: Path) -> None:
        self._site = site
        self._devices: list[SwarmDevice] = []

    async def connect(self, *, count: int) -> dict[str, float]:
        """Connect until there are so many devices with an epoch; returns how long it took."""
        began, gate = time.monotonic(), asyncio.Semaphore(CONNECTING)

        async def one(number: int) -> None:
            async with gate:
                device = SwarmDevice(Identity.load(self._site / f"edge-{number + 1}"))
                context = client_context(device.identity, server_tier="region")
                await asyncio.get_running_loop().create_connection(lambda: device, ADDRESSES["region"], PORT, ssl=context)
                self._devices.append(device)
                await asyncio.wait_for(device.is_open.wait(), 60)

        await asyncio.gather(*[one(number) for number in range(len(self._devices), count)])
        return {"seconds": time.monotonic() - began}

    async def flood(self, *, seconds: float, size: int) -> dict[str, float]:
        """Let every device always have one unconfirmed case; returns the cases stored per second after the first two seconds."""
        end, counted, before = time.monotonic() + 2.0 + seconds, False, 0
        while (now := time.monotonic()) < end:
            if not counted and now >= end - seconds:
                counted, before = True, self._stored()
            for device in self._devices:
                if not device.offered:
                    device.offer(size)
            await asyncio.sleep(0.002)
        return {"per_s": (self._stored() - before) / seconds, **await self._drained()}

    async def offer(self, *, per_s: float, seconds: float, size: int) -> dict[str, float]:
        """Offer cases evenly in time, device after device; returns milliseconds from offering to receipt, and how many were stored."""
        order = random.sample(self._devices, len(self._devices))
        began = time.monotonic()
        for number in range(int(per_s * seconds)):
            await asyncio.sleep(max(0.0, began + number / per_s - time.monotonic()))
            order[number % len(order)].offer(size)
        return await self._drained()

    async def tick(self) -> None:
        """Give every device its time, for ever."""
        for number in range(1 << 62):
            await asyncio.sleep(TICK_S)
            for device in self._devices:
                device.pump()
                if number % 80 == 0:
                    device.ping()

    async def _drained(self) -> dict[str, float]:
        deadline = time.monotonic() + 60
        while any(device.offered for device in self._devices) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        taken = sorted(1e3 * one for device in self._devices for one in device.taken_s)
        left = sum(len(device.offered) for device in self._devices)
        for device in self._devices:
            device.taken_s.clear()
        return {"stored": len(taken), "unconfirmed": left, "p50_ms": taken[len(taken) // 2], "p99_ms": taken[int(len(taken) * 0.99)]}

    def _stored(self) -> int:
        return sum(len(device.taken_s) for device in self._devices)


async def main(site: Path) -> None:
    """Do what standard input asks until it ends."""
    swarm = Swarm(site)
    ticking = asyncio.create_task(swarm.tick())
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    await loop.connect_read_pipe(lambda: _Lines(lines), sys.stdin)
    while (words := await lines.get()) is not None:
        answer(**await getattr(swarm, words.pop("do"))(**words))
    ticking.cancel()


class _Lines(asyncio.Protocol):
    """Standard input, line by line."""

    def __init__(self, lines: asyncio.Queue[dict[str, Any] | None]) -> None:
        self._lines = lines
        self._held = b""

    def data_received(self, data: bytes) -> None:
        *whole, self._held = (self._held + data).split(b"\n")
        for line in whole:
            self._lines.put_nowait(json.loads(line))

    def connection_lost(self, error: Exception | None) -> None:
        self._lines.put_nowait(None)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
