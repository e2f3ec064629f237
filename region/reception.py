"""What a message from a device is, decided in order; nothing is stored, sent or read here. One reception per intake worker.

Rules, in order; the first that fails drops the message and counts its reason:
1. The topic is a device's and its shard is this worker's; the device is not revoked.
2. `open`: at most one every 5 seconds per device, then chain, tier, revocation, name, vault, signature, key (wire.epoch). The same
   `open` again changes nothing; another with the same id is refused.
3. Anything else: the header is checked, its epoch is known (else the device gets a hint), its certificate not revoked since, its
   counter new; it opens; chunks are put together within bounds; the payload decodes.
4. A case's epoch says from which spool it is; its header says which sequence. Small messages may share a frame, which is believed
   as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from region.cases import Incoming
from region.liveepoch import Epoch, LiveEpoch
from shared.errors import IdentityError, ProtocolError
from shared.identity.names import Peer
from shared.wire import frame, topics
from shared.wire.chunks import Reassembly
from shared.wire.compression import Decompressor, UnknownDictionaryError
from shared.wire.dictionary import Dictionary
from shared.wire.envelope import SUITES, Opened, parse_header
from shared.wire.epoch import AcceptedEpoch, StaleKeyError, accept_open
from shared.wire.messages import CASES, Case, Kind, Telemetry, UpdateReport, decode
from shared.wire.shelf import Shelf

OPEN_EVERY_S = 5.0
HINT_EVERY_S = 5.0
KEPT_EPOCHS = 2
LARGEST_SEQUENCE = (1 << 63) - 1
ON_CASE_TOPIC = (*CASES, Kind.FRAME)
_NO_DICTIONARIES = Shelf()


class DropError(ProtocolError):
    """A message that is dropped; `reason` is the word it is counted under, `hint` what `device` is told, if anything."""

    def __init__(self, reason: str, message: str, *, hint: str = "", device: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.hint = hint
        self.device = device


class Revoked(Protocol):
    """Who is not listened to."""

    def denies(self, device: str) -> bool:
        """Whether a device was revoked by name."""

    def covers(self, issuer: str, serial: str) -> bool:
        """Whether a certificate is on a revocation list."""


class OpenedEpoch(msgspec.Struct, frozen=True, kw_only=True):
    """A device opened an epoch; `is_repeated` when it is the same `open` again."""

    device: str
    accepted: AcceptedEpoch
    issuer: str
    serial: str
    is_repeated: bool


Message = Incoming | Telemetry | UpdateReport


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What an authentic envelope held: a telemetry, an update report or a case, several of them, or a chunk of one (`messages` empty)."""

    device: str
    epoch: LiveEpoch
    messages: tuple[Message, ...]


class _Device:
    """What a worker remembers of one device."""

    def __init__(self) -> None:
        self.epochs: dict[int, LiveEpoch] = {}
        self.reassembly = Reassembly()
        self.opened_at = float("-inf")
        self.hinted_at = float("-inf")

    def add(self, epoch: LiveEpoch) -> None:
        self.epochs[epoch.epoch_id] = epoch
        while len(self.epochs) > KEPT_EPOCHS:
            del self.epochs[next(iter(self.epochs))]


class Reception:
    """Sorts the messages of the devices of some shards.

    Args:
        region: this region's name.
        shards: which shards are this worker's to begin with.
        vault_id: returns the vault's id.
        private_keys: returns the region's usable private keys by key id.
        verify: checks a device's chain and returns who it is.
        known_open: returns the digest of the `open` of (device, epoch id), if it was ever opened.
        revoked: who is not listened to.
        suites: cipher suites this region allows.
        find_dictionary: returns a dictionary by zstd's id.
    """

    def __init__(
        self,
        *,
        region: str,
        shards: Iterable[int] = (),
        vault_id: Callable[[], str],
        private_keys: Callable[[], Mapping[str, bytes]],
        verify: Callable[[Sequence[bytes]], Peer],
        known_open: Callable[[str, int], bytes | None],
        revoked: Revoked,
        suites: tuple[int, ...] = tuple(SUITES),
        find_dictionary: Callable[[int], Dictionary | None] = _NO_DICTIONARIES.find,
    ) -> None:
        self._region, self._shards, self._suites = region, frozenset(shards), suites
        self._vault_id, self._private_keys = vault_id, private_keys
        self._verify, self._known_open, self._revoked = verify, known_open, revoked
        self._decompressor = Decompressor(find_dictionary)
        self._devices: dict[str, _Device] = {}

    def own(self, shards: Iterable[int]) -> frozenset[int]:
        """Serve these shards and no others from now on.

        Returns:
            Those it did not serve before; the caller restores their epochs.
        """
        before, self._shards = self._shards, frozenset(shards)
        self._devices = {name: device for name, device in self._devices.items() if topics.shard_of(name) in self._shards}
        return self._shards - before

    def restore(self, epoch: Epoch) -> bool:
        """Use a stored epoch (again): after a restart, or because its device's shard has come here; oldest first.

        Returns:
            Whether its device is one of ours and listened to.
        """
        if topics.shard_of(epoch.device) not in self._shards or self._revoked.denies(epoch.device):
            return False
        self._devices.setdefault(epoch.device, _Device()).add(LiveEpoch(epoch))
        return True

    def adopt(self, opened: OpenedEpoch) -> LiveEpoch:
        """Use an epoch that has just been stored."""
        accepted = opened.accepted
        epoch = LiveEpoch(
            Epoch(
                device=opened.device, epoch_id=accepted.epoch_id, spool_id=accepted.spool_id, suite=accepted.suite, prk=accepted.prk,
                issuer=opened.issuer, serial=opened.serial, terms=accepted.terms,
            )
        )  # fmt: skip
        self._devices.setdefault(opened.device, _Device()).add(epoch)
        return epoch

    def newest(self, device: str) -> LiveEpoch | None:
        """Return the epoch the device opened last."""
        entry = self._devices.get(device)
        return next(reversed(entry.epochs.values())) if entry and entry.epochs else None

    def live(self, device: str, epoch_id: int) -> LiveEpoch | None:
        """Return an epoch in use."""
        entry = self._devices.get(device)
        return entry.epochs.get(epoch_id) if entry else None

    def take(self, topic: str, payload: bytes, *, now: float, at: float) -> OpenedEpoch | Heard:
        """Decide what a message is.

        Args:
            topic: where it came.
            payload: what came.
            now: monotonic seconds.
            at: Unix seconds.

        Raises:
            DropError: it is dropped, with the reason.
        """
        try:
            place = topics.parse_up(topic)
        except ProtocolError as error:
            raise DropError("topic", error.message) from None
        if place.shard not in self._shards:
            raise DropError("shard", f"shard {place.shard} is another worker's.")
        if self._revoked.denies(place.device):
            raise DropError("revoked", f"{place.device} is revoked.")
        if place.kind == "open":
            return self._open(place.device, payload, now)
        return self._sealed(place, payload, now, at)

    def _open(self, device: str, payload: bytes, now: float) -> OpenedEpoch:
        entry = self._devices.setdefault(device, _Device())
        if now - entry.opened_at < OPEN_EVERY_S:
            raise DropError("open_too_often", f"{device} opened an epoch less than {OPEN_EVERY_S:.0f} s ago.")
        entry.opened_at = now
        peers: list[Peer] = []

        def verify(chain: Sequence[bytes]) -> Peer:
            peers.append(self._verify(chain))
            return peers[0]

        try:
            accepted = accept_open(
                payload, private_keys=self._private_keys(), region=self._region, vault_id=self._vault_id(), suites=self._suites,
                verify=verify, topic_device=device,
            )  # fmt: skip
        except StaleKeyError as error:
            raise DropError("stale_key", error.message, hint="key", device=device) from None
        except IdentityError as error:
            raise DropError("open_identity", error.message) from None
        except ProtocolError as error:
            raise DropError("open_protocol", error.message) from None
        issuer, serial = peers[0].issuer, str(peers[0].serial)
        known = self._known_open(device, accepted.epoch_id)
        if self._revoked.covers(issuer, serial):
            raise DropError("revoked", f"the certificate of {device} is revoked.")
        if known is not None and (known != accepted.digest or self.live(device, accepted.epoch_id) is None):
            raise DropError("epoch_used", f"{device} opened an epoch that was used before.", hint="epoch", device=device)
        return OpenedEpoch(device=device, accepted=accepted, issuer=issuer, serial=serial, is_repeated=known is not None)

    def _sealed(self, place: topics.UpTopic, payload: bytes, now: float, at: float) -> Heard:
        try:
            header = parse_header(payload)
        except ProtocolError as error:
            raise DropError("header", error.message) from None
        epoch = self.live(place.device, header.epoch)
        if epoch is None:
            hint = self._hint(place.device, now)
            raise DropError("unknown_epoch", f"{place.device} uses an unknown epoch.", hint=hint, device=place.device)
        if self._revoked.covers(epoch.issuer, epoch.serial):
            raise DropError("revoked", f"the certificate of {place.device} is revoked.")
        if not epoch.window.is_new(header.counter):
            raise DropError("replay", f"{place.device} sent counter {header.counter} before.")
        if (header.kind in ON_CASE_TOPIC) != (place.kind == "case") or header.sequence > LARGEST_SEQUENCE:
            raise DropError("header", f"{place.device} sent a {header.kind.name} as {place.kind}.")
        try:
            opened = epoch.opener.open(payload)
            epoch.window.add(header.counter)
        except ProtocolError as error:
            raise DropError("not_authentic", error.message) from None
        try:
            return Heard(device=place.device, epoch=epoch, messages=self._messages(epoch, opened, at))
        except UnknownDictionaryError as error:
            raise DropError("dictionary", error.message, hint=self._hint(place.device, now), device=place.device) from None
        except ProtocolError as error:
            raise DropError("payload", error.message) from None

    def _messages(self, epoch: LiveEpoch, opened: Opened, at: float) -> tuple[Message, ...]:
        header = opened.header
        key = (epoch.spool_id, header.kind, header.sequence) if header.kind in CASES else (epoch.epoch_id, header.kind, header.codec)
        whole = self._devices[epoch.device].reassembly.add(key, opened.index, opened.count, header.codec, opened.payload)
        if whole is None:
            return ()
        plain = self._decompressor.decompress(header.codec, whole)
        if header.kind is not Kind.FRAME:
            return (_decoded(epoch, frame.Part(kind=header.kind, sequence=header.sequence, payload=plain), at),)
        return tuple(_decoded(epoch, part, at) for part in frame.unpack(plain))

    def _hint(self, device: str, now: float) -> str:
        entry = self._devices.setdefault(device, _Device())
        if now - entry.hinted_at < HINT_EVERY_S:
            return ""
        entry.hinted_at = now
        return "epoch"


def _decoded(epoch: LiveEpoch, part: frame.Part, at: float) -> Message:
    if part.kind is Kind.TELEMETRY:
        return decode(Telemetry, part.payload)
    if part.kind is Kind.UPDATE_REPORT:
        return decode(UpdateReport, part.payload)
    if part.sequence > LARGEST_SEQUENCE:
        raise ProtocolError(f"a case has sequence {part.sequence}.")
    case = decode(Case, part.payload)
    return Incoming(
        device=epoch.device, spool=epoch.spool_id, sequence=part.sequence, payload=part.payload, case=case, received_at=at,
        is_held=part.kind is Kind.HELD_CASE,
    )  # fmt: skip
