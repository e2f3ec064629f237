"""A region without a broker, and a device that speaks its protocol: what the tests of the region are told with."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from region.auditbook import AuditBook
from region.auditwatch import AuditWatch
from region.batcher import Backlog
from region.config import LimitSettings
from region.decoder import Decoder
from region.epochs import EpochStore
from region.experts.onnx import OnnxExpert
from region.figures import Figures
from region.fleet import Fleet
from region.guard import Guard
from region.intake import IntakeWorker
from region.keys import KeyRing
from region.quarantine import Quarantine
from region.reception import Reception
from region.replies import Replies
from region.vault import Vault
from region.worker import ExpertWorker
from shared.audit import AuditLog
from shared.identity.chain import verify_chain
from shared.identity.store import Identity
from shared.release.card import Card, InputSpec, Lineage, SelfTest, pack_inputs, sha256
from shared.vision.picture import encode as encode_picture
from shared.wire import chunks, topics
from shared.wire.announce import verify_announcement
from shared.wire.compression import decompress
from shared.wire.envelope import Opener, Sealer
from shared.wire.epoch import Opening, open_epoch
from shared.wire.frame import Part, pack
from shared.wire.keys import EpochKeys
from shared.wire.messages import (
    NEWEST,
    Answer,
    Case,
    Command,
    Credit,
    Kind,
    Message,
    Picture,
    Prediction,
    Receipt,
    StreamCounts,
    Telemetry,
    Terms,
    decode,
    encode,
)  # fmt: skip
from tests.waiting import until

from .models import linear

GUESS = Prediction(index=0, probabilities=(1.0, 0.0))
DOWN = {Kind.RECEIPT: Receipt, Kind.ANSWER: Answer, Kind.CREDIT: Credit, Kind.COMMAND: Command}


def colour(red: int, green: int, side: int = 8) -> Picture:
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = red, green
    return encode_picture(pixels, codec="png")


def a_case(sequence: int, *, picture: Picture | None = None, is_audit: bool = False, unit: str = "board") -> Case:
    return Case(
        stream="line", frame=sequence, unit=f"{unit}-{sequence}", captured_at=1.0, reason="margin", is_audit=is_audit, score=0.1,
        threshold=0.5, release=1, prediction=GUESS, picture=picture or colour(10, 200),
    )  # fmt: skip


def an_expert(folder: Path, release: int = 1, *, flip: bool = False) -> OnnxExpert:
    """A real ONNX expert: class 0 for red pictures, 1 for green ones; flipped the other way round."""
    path = folder / f"{release:06d}.onnx"
    weights = [[0.0, 9.0], [9.0, 0.0], [0.0, 0.0]] if flip else [[9.0, 0.0], [0.0, 9.0], [0.0, 0.0]]
    data = linear(weights)
    path.write_bytes(data)
    frames = np.zeros((1, 8, 8, 3), np.uint8)
    card = Card(
        model="expert", release=release, labels=("red", "green"), input=InputSpec(width=8, height=8),
        self_test=SelfTest(shape=(1, 8, 8, 3), inputs=pack_inputs(frames), logits=((0.0, 0.0),), tolerance=0.1),
        lineage=Lineage(parent=0, round=0, recipe="", data="", code="", created_at=0.0), onnx_sha256=sha256(data),
    )  # fmt: skip
    return OnnxExpert(path, card, threads=1).load()


class NobodyRevoked:
    def __init__(self) -> None:
        self.names: set[str] = set()
        self.serials: set[str] = set()

    def denies(self, device: str) -> bool:
        return device in self.names

    def covers(self, issuer: str, serial: str) -> bool:
        return serial in self.serials


class Hall:
    """Everything of a region between the broker and the vault, with the broker's place taken by two lists."""

    def __init__(self, folder: Path, region: Identity, *, worker: int = 0, workers: int = 1, limits: LimitSettings | None = None) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.is_up = True
        self.revoked = NobodyRevoked()
        self.vault = Vault(folder / "vault.db")
        self.vault.start()
        self.keys = KeyRing(self.vault, region="region-1", sign=region.sign, chain=region.chain)
        self.keys.refresh(time.time())
        self.epochs = EpochStore(self.vault)
        self.figures, self.fleet = Figures(), Fleet()
        self.replies = Replies(self._publish, self.figures)
        self.backlog = Backlog(largest=8, capacity=100)
        decoder = Decoder(max_pixels=1 << 16)
        self.expert = ExpertWorker(vault=self.vault, send=self.replies.send, figures=self.figures, backlog=self.backlog, decoder=decoder)
        self.reception = Reception(
            region="region-1", shards=range(worker, topics.SHARDS, workers), vault_id=lambda: self.vault.vault_id,
            private_keys=lambda: self.keys.private_keys, known_open=self.epochs.digest, revoked=self.revoked,
            verify=lambda chain: verify_chain(chain, anchors=region.anchors, tier="edge", now=time.time()),
        )  # fmt: skip
        for epoch in self.epochs.load(now=time.time()):
            keys = EpochKeys.from_prk(epoch.prk)
            self.replies.adopt(epoch.device, keys, epoch_id=epoch.epoch_id, suite=epoch.suite, terms=epoch.terms)
            self.reception.restore(epoch)
        self.quarantine, self.audit = Quarantine(folder / "quarantine"), AuditLog(folder / "audit.db")
        self.guard = Guard(limits or LimitSettings(), quarantine=self.quarantine, audit=self.audit, region="region-1")
        self.audits = AuditWatch(AuditBook(self.vault.database), self.audit, "region-1")
        self.worker = IntakeWorker(
            "intake-0", reception=self.reception, vault=self.vault, epochs=self.epochs, replies=self.replies, fleet=self.fleet,
            figures=self.figures, guard=self.guard, audits=self.audits, submit=self.expert.submit, deadline_s=2.0,
        )  # fmt: skip
        self.worker.start()
        self.expert.start()

    def _publish(self, topic: str, payload: bytes) -> bool:
        if self.is_up:
            self.sent.append((topic, payload))
        return self.is_up

    def close(self) -> None:
        self.worker.stop()
        self.expert.stop()
        self.vault.stop()


class Device:
    """A device: real certificate, real epochs; hands its envelopes to whom it is given."""

    def __init__(self, identity: Identity, region: Identity) -> None:
        self.identity, self.name, self.spool = identity, identity.peer.common_name, os.urandom(16)
        self._region = region
        self._reassembly = chunks.Reassembly()
        self.opening: Opening | None = None

    def open(self, announcement: bytes, *, suite: int = 1, terms: Terms = NEWEST) -> tuple[str, bytes]:
        key = verify_announcement(
            announcement, region="region-1", now=time.time(), lowest_serial=0,
            verify=lambda chain: verify_chain(chain, anchors=self._region.anchors, tier="region", now=time.time()),
        )  # fmt: skip
        self.opening = open_epoch(
            announcement=key, device=self.name, spool_id=self.spool, suite=suite, identity_chain=self.identity.chain,
            signer=self.identity.sign, random=os.urandom, terms=terms,
        )  # fmt: skip
        self._sealer = Sealer(self.opening.keys, epoch=self.opening.epoch_id, suite=suite, is_padded=terms.is_padded)
        self._opener = Opener(self.opening.keys, epoch=self.opening.epoch_id, suite=suite, from_region=True)
        return topics.up(self.name, "open"), self.opening.data

    def case(self, sequence: int, case: Case | None = None) -> list[tuple[str, bytes]]:
        parts = chunks.split(encode(case or a_case(sequence)))
        sealed = [self._sealer.seal(Kind.CASE, part, sequence=sequence, index=n, count=len(parts)) for n, part in enumerate(parts)]
        return [(topics.up(self.name, "case"), envelope) for envelope in sealed]

    def tell(self, kind: Kind, message: Message) -> tuple[str, bytes]:
        return topics.up(self.name, "control"), self._sealer.seal(kind, encode(message))

    def telemetry(self, *, floor: int = 0, at: float = 1.0) -> tuple[str, bytes]:
        counts = StreamCounts(stream="line", frames=9, dropped=0, kept=8, deferred=1, audited=0)
        message = Telemetry(at=at, floor=floor, release=1, update_state="idle", streams=(counts,), spool_cases=1, spool_bytes=10)
        return self.tell(Kind.TELEMETRY, message)

    def frame(self, parts: Sequence[Part]) -> tuple[str, bytes]:
        return topics.up(self.name, "case"), self._sealer.seal(Kind.FRAME, pack(parts))

    def read(self, sent: list[tuple[str, bytes]]) -> list[Receipt | Answer | Credit | Command]:
        """Open everything sent to this device, as far as it is under its current epoch."""
        read: list[Receipt | Answer | Credit | Command] = []
        for topic, payload in list(sent):
            if topic == topics.down(self.name, "msg"):
                opened = self._opener.open(payload)
                read.append(decode(DOWN[opened.header.kind], decompress(opened.header.codec, opened.payload)))
        return read


def receipted(device: Device, hall: Hall) -> set[int]:
    receipts = [message for message in device.read(hall.sent) if isinstance(message, Receipt)]
    assert all(receipt.vault_id == hall.vault.vault_id and receipt.spool_id == device.spool for receipt in receipts)
    return {number for receipt in receipts for first, last in receipt.ranges for number in range(first, last + 1)}


def answers(device: Device, hall: Hall) -> dict[int, Answer]:
    return {message.sequence: message for message in device.read(hall.sent) if isinstance(message, Answer)}


def deliver(hall: Hall, *messages: tuple[str, bytes]) -> None:
    for topic, payload in messages:
        hall.worker.deliver(topic, payload)


def opened(hall: Hall, device: Device, terms: Terms = NEWEST) -> None:
    deliver(hall, device.open(hall.keys.announcement, terms=terms))
    until(lambda: any(isinstance(message, Credit) for message in device.read(hall.sent)))
