"""A region as small as it can be, for tests of the device's side: real keys, real epochs, a dictionary for a vault."""

from __future__ import annotations

import time
from typing import Any

from shared.errors import ProtocolError
from shared.identity.chain import verify_chain
from shared.wire import topics
from shared.wire.announce import new_key, sign_announcement
from shared.wire.chunks import Reassembly
from shared.wire.compression import decompress
from shared.wire.envelope import Opener, Sealer, parse_header
from shared.wire.epoch import StaleKeyError, accept_open
from shared.wire.messages import Answer, Case, Credit, KeyAnnouncement, Kind, Prediction, Receipt, Telemetry, UpdateReport, decode, encode
from tests.brokers import Site


class SmallRegion:
    """Stores cases, sends receipts, answers and credit; each can be switched off."""

    def __init__(self, site: Site, *, vault_id: str = "vault-a") -> None:
        self.site = site
        self.vault_id = vault_id
        self.serial = 0
        self.private_keys: dict[str, bytes] = {}
        self.epochs: dict[tuple[str, int], Any] = {}
        self.vault: dict[tuple[str, bytes, int], Case] = {}
        self.received: list[int] = []
        self.telemetry: list[Telemetry] = []
        self.reports: list[UpdateReport] = []
        self.opens = 0
        self.receipts_on = self.answers_on = self.credit_on = True
        self.client = site.client(site.worker, self.take, as_worker=True, queue_bytes=64 << 20)
        self.client.subscribe(topics.worker_filters(range(64)))

    def start(self) -> SmallRegion:
        self.client.start()
        return self

    def stop(self) -> None:
        self.client.stop()

    def announcement(self, *, new: bool = True, **changes: Any) -> bytes:
        self.serial += 1
        key_id = f"key-{self.serial}"
        private, public = new_key()
        self.private_keys[key_id] = private
        now = int(time.time())
        values = {"region": "region-1", "vault_id": self.vault_id, "key_id": key_id, "kem": "x25519", "public": public}
        values |= {"not_before": now - 60, "not_after": now + 86400, "serial": self.serial}
        return sign_announcement(KeyAnnouncement(**{**values, **changes}), self.site.region.sign, self.site.region.chain)

    def announce(self, **changes: Any) -> None:
        assert self.client.publish(topics.KEY_ANNOUNCEMENT, self.announcement(**changes), retain=True)

    def take(self, topic: str, payload: bytes) -> None:
        place = topics.parse_up(topic)
        if place.kind == "open":
            self.open(place.device, payload)
        elif (found := self.epochs.get((place.device, parse_header(payload).epoch))) is not None:
            self.sealed(place.device, found, payload)
        else:
            self.client.publish(topics.down(place.device, "hint"), b"epoch")

    def open(self, device: str, payload: bytes) -> None:
        self.opens += 1
        try:
            accepted = accept_open(
                payload,
                private_keys=self.private_keys,
                region="region-1",
                vault_id=self.vault_id,
                suites=(1, 2, 3),
                verify=lambda chain: verify_chain(chain, anchors=self.site.region.anchors, tier="edge", now=time.time()),
                topic_device=device,
            )
        except StaleKeyError:
            self.client.publish(topics.down(device, "hint"), b"key")
            return
        number = accepted.epoch_id
        opener = Opener(accepted.keys, epoch=number, suite=accepted.suite)
        sealer = Sealer(accepted.keys, epoch=number, suite=accepted.suite, instance=time.monotonic_ns())
        self.epochs[device, number] = (accepted, opener, sealer, Reassembly())
        self.credit(device, self.epochs[device, number], 0)

    def sealed(self, device: str, found: Any, payload: bytes) -> None:
        _, opener, _, reassembly = found
        opened = opener.open(payload)
        header = opened.header
        whole = reassembly.add((header.kind, header.sequence), opened.index, opened.count, header.codec, opened.payload)
        if whole is None:
            return
        plain = decompress(header.codec, whole)
        if header.kind is Kind.TELEMETRY:
            self.telemetry.append(decode(Telemetry, plain))
            self.credit(device, found, header.counter)
        elif header.kind is Kind.UPDATE_REPORT:
            self.reports.append(decode(UpdateReport, plain))
        else:
            self.store(device, found, header, decode(Case, plain))

    def store(self, device: str, found: Any, header: Any, case: Case) -> None:
        spool_id = found[0].spool_id
        self.received.append(header.sequence)
        self.vault[device, spool_id, header.sequence] = case
        if self.receipts_on:
            ranges = ((header.sequence, header.sequence),)
            receipt = Receipt(vault_id=self.vault_id, spool_id=spool_id, ranges=ranges, credit=header.counter + 64)
            self.say(device, found, Kind.RECEIPT, receipt)
        if self.answers_on:
            prediction = Prediction(index=case.frame % 7, probabilities=(1.0,))
            answer = Answer(spool_id=spool_id, sequence=header.sequence, prediction=prediction, expert_release=1, at=time.time())
            self.say(device, found, Kind.ANSWER, answer)

    def credit(self, device: str, found: Any, counter: int) -> None:
        if self.credit_on:
            self.say(device, found, Kind.CREDIT, Credit(limit=counter + 64))

    def say(self, device: str, found: Any, kind: Kind, message: Any) -> None:
        try:
            self.client.publish(topics.down(device, "msg"), found[2].seal(kind, encode(message)))
        except ProtocolError as error:
            raise AssertionError(error) from error
