"""Everything the region says to a device: receipts, answers, credit, commands, sealed under the device's newest epoch.

Each taking up of an epoch is an instance of its own with keys of its own, so that a counter never meets a key twice, whichever of the
region's processes speak to a device and however often an epoch comes back to one. A message that cannot
be sent now is not kept: a receipt comes again when the case comes again, a late answer is of no use.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable

from region.figures import Figures
from region.liveepoch import Epoch
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
        self._sealers: dict[str, tuple[int, Sealer]] = {}
        self._denied: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    def adopt(self, device: str, keys: EpochKeys, *, epoch_id: int, suite: int, terms: Terms = OLDEST) -> None:
        """Speak to this device under this epoch from now on."""
        with self._lock:
            if device not in self._sealers or self._sealers[device][0] != epoch_id:
                instance = secrets.randbits(64)
                sealer = Sealer(keys, epoch=epoch_id, suite=suite, instance=instance, is_padded=terms.is_padded)
                self._sealers[device] = epoch_id, sealer

    def restore(self, epoch: Epoch) -> None:
        """Speak to a device under an epoch that was opened earlier, or with another process of this region."""
        self.adopt(epoch.device, EpochKeys.from_prk(epoch.prk), epoch_id=epoch.epoch_id, suite=epoch.suite, terms=epoch.terms)

    def deny(self, devices: frozenset[str]) -> None:
        """Say nothing to these devices and nobody else (they are revoked, or kept out)."""
        self._denied = devices

    def send(self, device: str, kind: Kind, message: Message) -> bool:
        """Seal and publish one message; returns False when the device has no epoch or is denied, or the broker cannot be reached."""
        if device in self._denied:
            return False
        codec, coded = compression.compress(kind, encode(message))
        parts = chunks.split(coded)
        with self._lock:
            if device not in self._sealers:
                return False
            _, sealer = self._sealers[device]
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
        return device not in self._denied and self._publish(topics.down(device, "hint"), about.encode())
