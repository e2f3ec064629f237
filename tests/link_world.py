"""A device, its regions and the links between them without threads, clocks or disks: real conversations, route, reception and intake.

What a real one would keep on disk survives `crash`; everything else does not. The vault is a model: a dictionary with the rules of the
real one (duplicates, conflicts, floors), which counts every effect that a case has.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from region.cases import Incoming, Outcome, Stored
from region.figures import Figures
from region.fleet import Fleet
from region.intake import IntakeWorker, Letter
from region.liveepoch import Epoch
from region.reception import Reception
from region.replies import Replies
from shared.errors import ProtocolError, StorageError
from shared.link.conversation import Conversation
from shared.link.handshake import Handshake
from shared.link.ownership import Ownership, decode_record, encode_record
from shared.link.retention import Waiting
from shared.link.route import Route
from shared.link.session import Session
from shared.wire import announce, topics
from shared.wire.epoch import AcceptedEpoch
from shared.wire.keys import EpochKeys
from shared.wire.messages import Case, KeyAnnouncement, Picture, Prediction, Telemetry, encode
from tests.certificates import Signer, believe

WALL = 1_800_000_000.0
DAY_S = 86400.0
DEVICE = Signer("edge-1.north")
Key = tuple[bytes, int]
Named = Mapping[tuple[str, bytes], bytes]


class Caller(NamedTuple):
    """What a device's chain says of it."""

    common_name: str
    region: str
    issuer: str
    serial: int


def a_case(sequence: int, size: int) -> bytes:
    """An encoded case whose picture has this many bytes."""
    picture = Picture(codec="webp", width=8, height=8, data=sequence.to_bytes(8, "big") + bytes(size))
    guess = Prediction(index=0, probabilities=(1.0,))
    return encode(
        Case(
            stream="line", frame=sequence, unit=f"board-{sequence}", captured_at=1.0, reason="margin", is_audit=False, score=0.1,
            threshold=0.5, release=1, prediction=guess, picture=picture,
        )
    )  # fmt: skip


class ModelVault:
    """The vault's rules in a dictionary; `effects` counts what all vaults of a world have done with a case."""

    def __init__(self, effects: Counter[Key]) -> None:
        self.vault_id = secrets.token_hex(8)
        self.effects = effects
        self.rows: dict[Key, bytes] = {}
        self.ever: set[Key] = set()
        self.floors: dict[bytes, int] = {}
        self.windows: dict[tuple[str, bytes], bytes] = {}
        self.is_failing = False

    def store(self, items: Sequence[Incoming], windows: Named, floors: Mapping[tuple[str, bytes], int]) -> list[Stored]:
        if self.is_failing:
            raise StorageError("the disk is full.")
        stored = [self._store(item) for item in items]
        self.windows |= windows
        for (_, spool), floor in floors.items():
            self.floors[spool] = max(floor, self.floors.get(spool, 0))
            self.rows = {key: digest for key, digest in self.rows.items() if key[0] != spool or key[1] >= self.floors[spool]}
        return stored

    def _store(self, item: Incoming) -> Stored:
        key, digest = (item.spool, item.sequence), hashlib.sha256(item.payload).digest()
        if item.sequence < self.floors.get(item.spool, 0):
            return Stored(outcome=Outcome.OLD)
        if key in self.rows:
            assert self.rows[key] == digest, "the same sequence with another payload"
            return Stored(outcome=Outcome.DUPLICATE)
        self.rows[key] = digest
        self.ever.add(key)
        self.effects[key] += not item.is_held
        return Stored(outcome=Outcome.NEW, id=len(self.ever))


class EpochRows:
    """The epochs table."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], tuple[bytes, Epoch, float]] = {}

    def digest(self, device: str, epoch_id: int) -> bytes | None:
        found = self.rows.get((device, epoch_id))
        return found[0] if found else None

    def add(self, accepted: AcceptedEpoch, *, issuer: str, serial: str, now: float) -> None:
        epoch = Epoch(
            device=accepted.peer.common_name, epoch_id=accepted.epoch_id, spool_id=accepted.spool_id, suite=accepted.suite,
            prk=accepted.prk, issuer=issuer, serial=serial,
        )  # fmt: skip
        self.rows[epoch.device, epoch.epoch_id] = (accepted.digest, epoch, now)


class Nobody:
    """Nobody is revoked."""

    def denies(self, device: str) -> bool:
        return False

    def covers(self, issuer: str, serial: str) -> bool:
        return False


class NoLimits:
    """Every device may send what it likes."""

    def is_slowed(self, device: str, *, now: float) -> bool:
        return False

    def refused(self, device: str, reason: str, *, now: float) -> None:
        pass


class NoWatch:
    """Nobody counts audit samples."""

    def stored(self, case: Case) -> None:
        pass

    def told(self, message: Telemetry, epoch: object, *, now: float) -> None:
        pass


class RegionEnd:
    """One region: its vault, keys and epochs survive a crash."""

    def __init__(self, name: str, effects: Counter[Key]) -> None:
        self.name, self.signer = name, Signer(f"server.{name}")
        self.vault, self.epochs = ModelVault(effects), EpochRows()
        self.keys: dict[str, tuple[bytes, KeyAnnouncement]] = {}
        self.down: list[tuple[str, bytes]] = []
        self.refresh(WALL)
        self.crash(WALL)

    def refresh(self, wall: float, *, rotate: bool = False) -> None:
        """Make and destroy keys as `region.keys` does: seven days, 48 hours of overlap."""
        self.keys = {name: key for name, key in self.keys.items() if key[1].not_after >= wall}
        newest = max((key[1] for key in self.keys.values()), key=lambda one: one.serial, default=None)
        if newest is None or rotate or newest.not_after - wall < 2 * DAY_S:
            private, public = announce.new_key()
            serial = max(int(wall), newest.serial + 1 if newest else 0)
            made = KeyAnnouncement(
                region=self.name, vault_id=self.vault.vault_id, key_id=f"k{serial}", kem="x25519", public=public, not_before=int(wall),
                not_after=int(wall + 7 * DAY_S), serial=serial, schema=2,
            )  # fmt: skip
            self.keys[made.key_id] = (private, made)

    @property
    def announcement(self) -> bytes:
        newest = max((key[1] for key in self.keys.values()), key=lambda one: one.serial)
        return announce.sign_announcement(newest, self.signer.sign, self.signer.chain)

    def crash(self, wall: float) -> None:
        """Lose everything that is not on disk."""
        self.reception = Reception(
            region=self.name, shards=tuple(range(64)), vault_id=lambda: self.vault.vault_id,
            private_keys=lambda: {name: key[0] for name, key in self.keys.items()}, known_open=self.epochs.digest, revoked=Nobody(),
            verify=lambda chain: Caller(*believe(DEVICE)(chain).__dict__.values(), issuer="ca", serial=1),
        )  # fmt: skip
        replies = Replies(self._publish, Figures())
        for _, epoch, opened_at in self.epochs.rows.values():
            if wall - opened_at < 2 * DAY_S:
                window = self.vault.windows.get((epoch.device, epoch.epoch_id.to_bytes(8, "big")))
                keys = EpochKeys.from_prk(epoch.prk)
                replies.adopt(epoch.device, keys, epoch_id=epoch.epoch_id, suite=epoch.suite)
                self.reception.restore(Epoch(**{name: getattr(epoch, name) for name in Epoch.__struct_fields__} | {"window": window}))
        self.intake = IntakeWorker(
            "intake", reception=self.reception, vault=self.vault, epochs=self.epochs, replies=replies, fleet=Fleet(), figures=Figures(),
            guard=NoLimits(), audits=NoWatch(), submit=lambda jobs: None, deadline_s=2.0,
        )  # fmt: skip

    def take(self, topic: str, payload: bytes, *, now: float, wall: float) -> None:
        """Let the intake worker do its work on one message; what it says lies in `down`."""
        self.intake._work([Letter(topic, payload, DEVICE.common_name, now, wall)])

    def _publish(self, topic: str, payload: bytes) -> bool:
        self.down.append((topic, payload))
        return True


class World:
    """One device of `regions[0]`, and the regions."""

    def __init__(self, *regions: str, seed: int = 0, silence_s: float = 30.0) -> None:
        self.effects: Counter[Key] = Counter()
        self.regions = {name: RegionEnd(name, self.effects) for name in regions}
        self.home, self.silence_s = regions[0], silence_s
        self.now = 0.0
        self.random = random.Random(seed)
        self.spool: dict[int, bytes] = {}
        self.spool_id = secrets.token_bytes(16)
        self.next_sequence, self.disk_fails = 1, False
        self.record: bytes | None = None
        self.serials = dict.fromkeys(regions, 0)
        self.up: dict[str, list[tuple[str, bytes]]] = {name: [] for name in regions}
        self.cut: set[str] = set()
        self.offered: list[int] = []
        self.given_away: set[int] = set()
        self.boot()

    @property
    def wall(self) -> float:
        return WALL + self.now

    def boot(self) -> None:
        """Start the device from what lies on its disk."""
        self.conversations = {name: self._conversation(name) for name in self.regions}
        self.route = Route(home=self.home, conversations=self.conversations, silence_s=self.silence_s)
        record = None if self.record is None else decode_record(self.record)
        self.route.begin([self._waiting(number) for number in sorted(self.spool)], record, spool_id=self.spool_id, now=self.now)
        self.connected: set[str] = set()

    def crash_device(self, *, cleanly: bool = False) -> None:
        if cleanly and len(self.regions) > 1:
            with contextlib.suppress(StorageError):
                self._keep(self.route.final(self.wall))
        self.boot()

    def offer(self, size: int) -> int:
        """Spool one case and hand it to the route."""
        number, self.next_sequence = self.next_sequence, self.next_sequence + 1
        self.spool[number] = a_case(number, size)
        self.offered.append(number)
        self.route.offered([self._waiting(number)], evicted=())
        return number

    def step(self, *, most: int = 1000) -> None:
        """One turn of the device's loop: choose the region, keep the epochs, send at most that many messages on each link."""
        try:
            self.route.step(self.now, self.wall, self._keep)
        except StorageError:
            assert self.disk_fails
        wanted = {name for name in self.route.wanted() if name not in self.cut}
        for name in wanted ^ self.connected:
            self.conversations[name].reconnected()
        self.connected = wanted
        for name in wanted:
            conversation, region = self.conversations[name], self.regions[name]
            region.refresh(self.wall)
            conversation.renew(now=self.now, wall=self.wall)
            if conversation.wants_key(self.now):
                self.serials[name] = conversation.announced(region.announcement, now=self.now, wall=self.wall)
            for _ in range(most):
                outgoing = conversation.next(self.now, read=self.spool.get, telemetry=self._telemetry)
                if outgoing is None:
                    break
                self.up[name].append((topics.up(DEVICE.common_name, outgoing.kind), outgoing.data))

    def deliver_up(self, name: str, index: int = 0, *, keep: bool = False) -> None:
        topic, payload = self.up[name][index] if keep else self.up[name].pop(index)
        self.regions[name].take(topic, payload, now=self.now, wall=self.wall)

    def deliver_down(self, name: str, index: int = 0, *, keep: bool = False) -> None:
        topic, payload = self.regions[name].down[index] if keep else self.regions[name].down.pop(index)
        conversation = self.conversations[name]
        if topic.endswith("/hint"):
            conversation.hinted(self.now)
            return
        try:
            stored, _ = conversation.heard(payload, now=self.now)
        except ProtocolError:
            return
        self.route.heard(name, self.now)
        for number in stored:
            assert any((self.spool_id, number) in region.vault.ever for region in self.regions.values()), "deleted, but nowhere stored"
            self.spool.pop(number, None)

    def settle(self, *, within_s: float, step_s: float = 0.5) -> float:
        """Mend every link, deliver everything in order, and let time pass until nothing waits; returns how long that took."""
        self.cut.clear()
        self.disk_fails = False
        began = self.now
        for region in self.regions.values():
            region.vault.is_failing = False
        while self.spool:
            assert self.now - began < within_s, f"it does not come to an end: {self.words()}"
            self.step()
            self.exchange()
            self.now += step_s
        return self.now - began

    def exchange(self) -> None:
        """Deliver everything that is on the way on the links that are not cut."""
        for name in self.regions:
            if name not in self.cut:
                while self.up[name]:
                    self.deliver_up(name)
                while self.regions[name].down:
                    self.deliver_down(name)

    def run(self, seconds: float, step_s: float = 0.5) -> None:
        """Let time pass with what is not cut working."""
        until = self.now + seconds
        while self.now < until:
            self.step()
            self.exchange()
            self.now += step_s

    def words(self) -> str:
        states = {name: conversation._handshake.state.value for name, conversation in self.conversations.items()}
        return f"{sorted(self.spool)} wait; route {self.route.state.value} {self.route.active}; held {self.route.held()}; {states}"

    def _keep(self, record: Ownership) -> None:
        if self.disk_fails:
            raise StorageError("the disk is read-only.")
        self.record = encode_record(record)
        self.given_away |= {number for number in self.spool if record.owner(number).region == ""}

    def _conversation(self, name: str) -> Conversation:
        handshake = Handshake(
            device=DEVICE.common_name, region=name, suite=1, chain=DEVICE.chain, signer=DEVICE.sign,
            verify=believe(*(region.signer for region in self.regions.values())), random=secrets.token_bytes,
        )  # fmt: skip
        conversation = Conversation(handshake=handshake, session=Session(random=self.random.random))
        conversation.begin((), spool_id=self.spool_id, lowest_serial=self.serials[name])
        return conversation

    def _waiting(self, number: int) -> Waiting:
        return Waiting(sequence=number, size=len(self.spool[number]), is_audit=False, value=(number * 7 % 10) / 10)

    def _telemetry(self) -> bytes:
        floor = min(self.spool, default=self.next_sequence)
        return encode(
            Telemetry(at=self.wall, floor=floor, release=1, update_state="", streams=(), spool_cases=len(self.spool), spool_bytes=0)
        )
