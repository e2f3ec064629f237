"""Everything the region says to a device: receipts, answers, credit, commands, sealed under the device's newest epoch.

Each taking up of an epoch is an instance of its own with keys of its own, so that a counter never meets a key twice, whichever of the
region's processes speak to a device and however often an epoch comes back to one. A message that cannot
be sent now is not kept: a receipt comes again when the case comes again, a late answer is of no use.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import NamedTuple

from region.figures import Figures
from region.liveepoch import Epoch
from shared import clock
from shared.errors import ProtocolError
from shared.wire import chunks, topics
from shared.wire.compression import Compressor
from shared.wire.envelope import Sealer
from shared.wire.keys import EpochKeys
from shared.wire.messages import OLDEST, Command, Credit, Kind, Message, Terms, encode
from shared.wire.shelf import Shelf

Publish = Callable[[str, bytes], bool]
"""Publishes a payload to a topic; returns False when that is not possible now."""


class _Voice(NamedTuple):
    """How one device is spoken to: under which epoch, and which dictionaries it has."""

    epoch_id: int
    sealer: Sealer
    reads: tuple[bytes, ...]


class Replies:
    """Seals and publishes; for any thread.

    Args:
        publish: see `Publish`.
        figures: where replies are counted.
        shelf: dictionaries that may be used towards devices that have them.
    """

    def __init__(self, publish: Publish, figures: Figures, shelf: Shelf | None = None) -> None:
        self._publish = publish
        self._figures = figures
        self._voices: dict[str, _Voice] = {}
        self._denied: frozenset[str] = frozenset()
        self._compressor = Compressor(clock=clock.monotonic, shelf=shelf)
        self._lock = threading.Lock()

    def adopt(self, device: str, keys: EpochKeys, *, epoch_id: int, suite: int, terms: Terms = OLDEST) -> None:
        """Speak to this device under this epoch from now on."""
        with self._lock:
            if device not in self._voices or self._voices[device].epoch_id != epoch_id:
                instance = secrets.randbits(64)
                sealer = Sealer(keys, epoch=epoch_id, suite=suite, instance=instance, is_padded=terms.is_padded)
                self._voices[device] = _Voice(epoch_id, sealer, terms.dictionaries)

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
        payload = encode(message)
        with self._lock:
            voice = self._voices.get(device)
            if voice is None:
                return False
            codec, coded = self._compressor.compress(kind, payload, reads=voice.reads)
            parts = chunks.split(coded)
            try:
                sealed = [voice.sealer.seal(kind, part, index=number, count=len(parts), codec=codec) for number, part in enumerate(parts)]
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
