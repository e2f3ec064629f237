"""One intake worker: takes messages off the broker, lets reception sort them, commits cases in batches, then sends receipts.

Rules, in order:
1. What is waiting is one batch (up to `LARGEST_BATCH`), one transaction, one receipt per device and spool.
2. No receipt without a commit. When the vault cannot be written, cases are dropped and counted; the devices send them again.
3. Credit follows what has been seen, receipt or not, so that a device is never stuck behind dropped messages. A device over its limits
   gets none until it is within them again (guard).
4. Only new cases go to the expert.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import msgspec

from region.auditwatch import AuditWatch
from region.batcher import Job
from region.cases import Incoming, Outcome, Stored
from region.epochs import EpochStore
from region.figures import Figures
from region.fleet import Fleet
from region.guard import Guard
from region.letters import Letter, Letters
from region.liveepoch import CREDIT_WINDOW, LiveEpoch
from region.reception import DropError, Heard, OpenedEpoch, Reception
from region.replies import Replies
from region.settlement import Arrival, Ranges, settle
from region.vault import Vault
from shared import clock, log
from shared.errors import StorageError
from shared.wire import topics
from shared.wire.messages import Kind, Receipt, Telemetry, UpdateReport

LARGEST_BATCH = 64
LONGEST_QUEUE = 4096
SLOWED_S = 0.1
"""How often a device that is slowed down is looked at again."""
EPOCH_OPENED, STORE_FAILED, MESSAGE_DROPPED = "epoch_opened", "vault_store_failed", "message_dropped"


class Handover(msgspec.Struct, frozen=True):
    """The word to serve these shards, in the queue among the letters; `done` is set when it has been followed."""

    shards: frozenset[int]
    done: threading.Event


class IntakeWorker:
    """The worker of some shards.

    Args:
        name: for the thread and the log.
        reception: sorts messages; used by this worker only.
        vault: where cases go.
        epochs: where new epochs go.
        replies: says things to devices.
        fleet: remembers telemetry and reports.
        figures: counts.
        guard: knows each device's limits.
        audits: watches for audit samples that are left out.
        submit: hands new cases to the expert.
        deadline_s: how old a live case may be when its answer comes.
    """

    def __init__(
        self,
        name: str,
        *,
        reception: Reception,
        vault: Vault,
        epochs: EpochStore,
        replies: Replies,
        fleet: Fleet,
        figures: Figures,
        guard: Guard,
        audits: AuditWatch,
        submit: Callable[[Iterable[Job]], None],
        deadline_s: float,
    ) -> None:
        self._reception, self._vault, self._epochs = reception, vault, epochs
        self._replies, self._fleet, self._figures = replies, fleet, figures
        self._guard, self._audits = guard, audits
        self._submit = submit
        self._deadline_s = deadline_s
        self._letters: Letters[Handover] = Letters(LONGEST_QUEUE)
        self._slowed: dict[str, LiveEpoch] = {}
        self._waiting = threading.Event()
        self._stopping = False
        self._is_storing = True
        self._logger = log.get(name)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_storing(self) -> bool:
        """Whether the last commit succeeded."""
        return self._is_storing

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the running batch and end; what still waits has no receipt and is sent again."""
        self._stopping = True
        self._waiting.set()
        self._thread.join()

    def deliver(self, topic: str, payload: bytes) -> None:
        """Queue a message; for the MQTT thread."""
        self._figures.messages += 1
        device, now = topics.sender(topic), clock.monotonic()
        if reason := self._guard.admits(device, len(payload), now=now):
            self._figures.drop(reason)
        elif self._letters.put(Letter(topic, payload, device, now, clock.wall())):
            self._waiting.set()
        else:
            self._figures.drop("intake_full")

    def own(self, shards: frozenset[int]) -> None:
        """Serve these shards and no others; returns when what came before is stored and the epochs of new ones are known."""
        handover = Handover(shards, threading.Event())
        self._letters.put_word(handover)
        self._waiting.set()
        while not handover.done.wait(1.0) and self._thread.is_alive():
            continue

    def _run(self) -> None:
        while not self._stopping:
            self._waiting.wait(SLOWED_S if self._slowed else None)
            self._waiting.clear()
            while self._letters and not self._stopping:
                if (handover := self._letters.word()) is not None:
                    self._own(handover)
                else:
                    self._work(self._letters.take(LARGEST_BATCH))
            for epoch in list(self._slowed.values()):
                self._give_credit(epoch)

    def _own(self, handover: Handover) -> None:
        fresh = self._reception.own(handover.shards)
        try:
            stored = [one for one in self._epochs.load(now=clock.wall()) if topics.shard_of(one.device) in fresh] if fresh else []
            for epoch in {one.device: one for one in stored if self._reception.restore(one)}.values():
                self._replies.restore(epoch)  # under the newest one of each
        except StorageError as error:
            self._failed(error, messages=0)  # devices are told that their epochs are unknown and open new ones
        handover.done.set()

    def _work(self, batch: list[Letter]) -> None:
        heard: list[tuple[Letter, Heard]] = []
        for letter in batch:
            try:
                taken = self._reception.take(letter.topic, letter.payload, now=letter.now, at=letter.at)
            except DropError as drop:
                self._drop(drop, letter)
                continue
            if isinstance(taken, OpenedEpoch):
                self._open(taken, letter)
            else:
                heard.append((letter, taken))
        if heard:
            self._store(heard)

    def _drop(self, drop: DropError, letter: Letter) -> None:
        self._figures.drop(drop.reason)
        self._guard.refused(letter.device, drop.reason, now=letter.now)
        self._logger.debug(MESSAGE_DROPPED, reason=drop.reason, message=drop.message)
        if drop.hint:
            self._replies.hint(drop.device, drop.hint)

    def _open(self, opened: OpenedEpoch, letter: Letter) -> None:
        accepted = opened.accepted
        live = self._reception.live(opened.device, accepted.epoch_id)
        if live is None:
            try:
                self._epochs.add(accepted, issuer=opened.issuer, serial=opened.serial, now=letter.at)
            except StorageError as error:
                self._failed(error, messages=1)
                return
            live = self._reception.adopt(opened)
            self._replies.adopt(opened.device, accepted.keys, epoch_id=accepted.epoch_id, suite=accepted.suite, terms=accepted.terms)
            self._figures.epochs_opened += 1
            self._logger.info(EPOCH_OPENED, device=opened.device, epoch=f"{accepted.epoch_id:016x}", suite=accepted.suite)
        self._fleet.heard(opened.device, now=letter.at, size=len(letter.payload))
        self._give_credit(live)

    def _store(self, heard: list[tuple[Letter, Heard]]) -> None:
        said = [(letter, one, message) for letter, one in heard for message in one.messages]
        items = [Arrival(case=message, now=letter.now) for letter, _, message in said if isinstance(message, Incoming)]
        told = [(one, message.floor) for _, one, message in said if isinstance(message, Telemetry)]
        floors = {(one.device, one.epoch.spool_id): floor for one, floor in told if floor > 0}
        if items or floors:
            windows = {one.epoch.row: one.epoch.window.to_bytes() for _, one in heard}
            try:
                stored = self._vault.store([item.case for item in items], windows, floors)
            except StorageError as error:
                self._failed(error, messages=len(items))
                stored, items = [], []
            else:
                self._is_storing = True
            self._settle(items, stored)
        for letter, one in heard:
            self._note(letter, one)
        for epoch in {one.epoch.row: one.epoch for _, one in heard}.values():
            if epoch.credit - epoch.credit_given >= CREDIT_WINDOW // 2:
                self._give_credit(epoch)

    def _settle(self, items: list[Arrival], stored: list[Stored]) -> None:
        settled = settle(items, stored, deadline_s=self._deadline_s)
        self._figures.cases_new += len(settled.jobs)
        self._figures.cases_duplicate += settled.duplicates
        for item, result in zip(items, stored, strict=True):
            if result.outcome in {Outcome.NEW, Outcome.DUPLICATE}:
                self._audits.stored(item.case)
        for device, reason in settled.refused:
            self._figures.drop(reason)
            self._guard.refused(device, reason, now=clock.monotonic())
        for (device, spool), ranges in settled.receipts.items():
            self._receipt(device, spool, ranges)
        if settled.jobs:
            self._submit(settled.jobs)

    def _receipt(self, device: str, spool: bytes, ranges: Ranges) -> None:
        epoch = self._reception.newest(device)
        if epoch is None:
            return  # the device has just opened others; it sends the case again
        credit = max(0, epoch.credit_given if self._is_slowed(epoch) else epoch.credit)
        message = Receipt(vault_id=self._vault.vault_id, spool_id=spool, ranges=ranges, credit=credit)
        if self._replies.send(device, Kind.RECEIPT, message):
            self._figures.receipts += sum(last - first + 1 for first, last in ranges)
            epoch.credit_given = credit

    def _note(self, letter: Letter, one: Heard) -> None:
        self._fleet.heard(one.device, now=letter.at, size=len(letter.payload))
        for message in one.messages:
            if isinstance(message, Telemetry):
                self._fleet.telemetry(one.device, message)
                self._audits.told(message, one.epoch, now=letter.now)
                one.epoch.credit_given = min(one.epoch.credit_given, one.epoch.credit - CREDIT_WINDOW)  # a lost credit comes again
            elif isinstance(message, UpdateReport):
                self._fleet.report(one.device, message)

    def _is_slowed(self, epoch: LiveEpoch) -> bool:
        """Whether the device gets no credit for now; then it is looked at again soon."""
        is_slowed = self._guard.is_slowed(epoch.device, now=clock.monotonic())
        if is_slowed:
            self._slowed[epoch.device] = epoch
        else:
            self._slowed.pop(epoch.device, None)
        return is_slowed

    def _give_credit(self, epoch: LiveEpoch) -> None:
        if self._is_slowed(epoch):
            return
        if self._reception.newest(epoch.device) is epoch and self._replies.credit(epoch.device, epoch.credit):
            epoch.credit_given = epoch.credit

    def _failed(self, error: StorageError, *, messages: int) -> None:
        self._figures.storage_failures += 1
        self._figures.dropped["storage"] += messages
        if self._is_storing:
            self._logger.error(STORE_FAILED, error=str(error))  # once per outage
        self._is_storing = False
