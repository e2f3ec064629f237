"""Everything the region says to a device: receipts, answers, credit, commands, sealed under the device's newest epoch.

Each process start is an instance of its own with keys of its own, so that a counter never meets a key twice. A message that cannot
be sent now is not kept: a receipt comes again when the case comes again, a late answer is of no use.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable

from region.figures import Figures
from shared.errors import ProtocolError
from shared.wire import chunks, compression, topics
from shared.wire.envelope import Sealer
from shared.wire.keys import EpochKeys
from shared.wire.messages import OLDEST, Command, Credit, Kind, Message, Terms, encode

Publish = Callable[[str, bytes], bool]
"""Publishes a payload to a topic; returns False when that is not possible now."""


class Replies:
    """Seals and publishes; for any thread.

    Args:
        publish: see `Publish`.
        figures: where replies are counted.
    """

    def __init__(self, publish: Publish, figures: Figures) -> None:
        self._publish = publish
        self._figures = figures
        self._instance = secrets.randbits(64)
        self._sealers: dict[str, Sealer] = {}
        self._lock = threading.Lock()

    def adopt(self, device: str, keys: EpochKeys, *, epoch_id: int, suite: int, terms: Terms = OLDEST) -> None:
        """Speak to this device under a new epoch from now on."""
        with self._lock:
            self._sealers[device] = Sealer(keys, epoch=epoch_id, suite=suite, instance=self._instance, is_padded=terms.is_padded)

    def forget(self, device: str) -> None:
        """Say nothing more to this device (it is revoked)."""
        with self._lock:
            self._sealers.pop(device, None)

    def send(self, device: str, kind: Kind, message: Message) -> bool:
        """Seal and publish one message; returns False when the device has no epoch or the broker cannot be reached."""
        codec, coded = compression.compress(kind, encode(message))
        parts = chunks.split(coded)
        with self._lock:
            sealer = self._sealers.get(device)
            if sealer is None:
                return False
            try:
                sealed = [sealer.seal(kind, part, index=number, count=len(parts), codec=codec) for number, part in enumerate(parts)]
            except ProtocolError:
                return False  # the epoch is spent; the device opens a new one
        sent = all(self._publish(topics.down(device, "msg"), envelope) for envelope in sealed)
        self._figures.replies += 1
        self._figures.replies_unsent += not sent
        return sent

    def credit(self, device: str, limit: int) -> bool:
        """Allow a device to send cases up to this envelope counter."""
        return self.send(device, Kind.CREDIT, Credit(limit=limit))

    def command(self, device: str, name: str, argument: str = "") -> bool:
        """Send a device a command."""
        return self.send(device, Kind.COMMAND, Command(name=name, argument=argument))

    def hint(self, device: str, about: str) -> bool:
        """Tell a device, unauthenticated, that its `epoch` or `key` is unknown here."""
        return self._publish(topics.down(device, "hint"), about.encode())
