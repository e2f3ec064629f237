"""The expert's thread: pulls batches from the backlog, answers them, sends the answers and keeps them in the vault.

Rules, in order:
1. The thread pulls: as soon as a batch is done the next one is what waits then.
2. An answer is sent first and stored right after; a crash in between means the case is answered once more with the same model.
3. With nothing waiting, the vault's unanswered cases are next (late cases, and those from before an expert was here).
4. A new expert is taken over between two batches; nothing waits for it or is lost by it.
5. A picture that cannot be decoded is refused for good; a failing expert leaves its cases for later and is tried again after a pause.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence

from region.agreement import Agreement
from region.batcher import Backlog, Job, Priority
from region.cases import StoredCase
from region.decoder import Decoder
from region.experts.base import Expert
from region.figures import Figures
from region.vault import Vault
from region.watch import judge
from shared import clock, log
from shared.errors import EngineError, InputError, StorageError
from shared.vision.crops import paste
from shared.vision.frames import Pixels
from shared.wire.messages import Answer, Kind, Message, Prediction

IDLE_S, LATE_AFTER_S, PAUSE_S, ANSWERED_WITHIN_S = 0.5, 1.0, 1.0, 60.0
"""Idle check; age at which a stored case counts as left over; pause after a failure; how old a case may be to be told its device."""
EXPERT_INSTALLED, EXPERT_FAILED, ANSWERS_NOT_STORED, PICTURE_REFUSED = (
    "expert_installed", "expert_failed", "answers_not_stored", "picture_refused",
)  # fmt: skip
Send = Callable[[str, Kind, Message], bool]


class ExpertWorker:
    """Answers cases.

    Args:
        vault: where answers are kept and left-over cases come from.
        send: sends a sealed message to a device.
        figures: where answers are counted.
        backlog: what waits.
        decoder: decodes pictures; used and stopped by this thread alone.
        agreement: counts answered audit samples; by default one with the usual rules.
    """

    def __init__(
        self,
        *,
        vault: Vault,
        send: Send,
        figures: Figures,
        backlog: Backlog,
        decoder: Decoder,
        agreement: Agreement | None = None,
    ) -> None:
        self._vault = vault
        self._agreement = agreement or Agreement(vault.database)
        self._send = send
        self._figures = figures
        self._backlog = backlog
        self._decoder = decoder
        self._changed = threading.Condition()
        self._stopping = False
        self._expert: Expert | None = None
        self._next: Expert | None = None
        self._logger = log.get("worker")
        self._thread = threading.Thread(target=self._run, name="expert", daemon=True)

    @property
    def release(self) -> int | None:
        """The release that answers now, or None without an expert."""
        expert = self._next or self._expert
        return None if expert is None else expert.release

    @property
    def waiting(self) -> int:
        """How many cases wait in memory."""
        return len(self._backlog)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the running batch and end; what still waits lies in the vault."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()
        for expert in (self._expert, self._next):
            if expert is not None:
                expert.close()

    def install(self, expert: Expert) -> None:
        """Hand over a loaded expert; it answers from the next batch on."""
        with self._changed:
            replaced, self._next = self._next, expert
            self._changed.notify()
        if replaced is not None:
            replaced.close()

    def submit(self, jobs: Iterable[Job]) -> None:
        """Offer stored cases for an answer; those that do not fit come back from the vault later."""
        now = clock.monotonic()
        with self._changed:
            if self.release is not None:
                for job in jobs:
                    self._backlog.offer(job, now=now)
                self._changed.notify()

    def _run(self) -> None:
        self._decoder.start()
        while not self._stopping:
            self._take_over()
            batch = self._pull()
            if batch:
                self._answer(batch)
        self._decoder.stop()

    def _take_over(self) -> None:
        with self._changed:
            if self._next is None:
                return
            old, self._expert, self._next = self._expert, self._next, None
        self._logger.info(EXPERT_INSTALLED, release=self._expert.release, engine=self._expert.name)
        if old is not None:
            old.close()

    def _pull(self) -> list[Job]:
        with self._changed:
            batch = self._backlog.take(now=clock.monotonic())
            if batch or self._stopping:
                return batch
        late = self._late() if self._expert is not None else []
        with self._changed:
            if not late and not len(self._backlog) and self._next is None and not self._stopping:
                self._changed.wait(IDLE_S)
        return late

    def _late(self) -> list[Job]:
        try:
            left = self._vault.unanswered(received_before=clock.wall() - LATE_AFTER_S, limit=16)
        except StorageError as error:
            self._logger.warning(EXPERT_FAILED, error=str(error))
            self._pause()
            return []
        return [job_of(case, priority=Priority.LATE, deadline_s=None) for case in left]

    def _answer(self, batch: list[Job]) -> None:
        begun = clock.monotonic()
        decoded = [(job, pixels) for job in batch if (pixels := self._decoded(job)) is not None]
        expert = self._expert
        if not decoded or expert is None:
            return
        answers = self._predict(expert, decoded)
        if not answers:
            self._pause()
            return
        self._tell(answers, expert.release)
        self._backlog.times.add(clock.monotonic() - begun)
        self._figures.batches += 1
        self._keep(answers, expert.release)

    def _predict(self, expert: Expert, decoded: list[tuple[Job, Pixels]]) -> list[tuple[Job, Prediction]]:
        try:
            predictions = expert.answer([pixels for _, pixels in decoded])
        except (EngineError, InputError) as error:
            self._figures.expert_failures += 1
            self._logger.warning(EXPERT_FAILED, release=expert.release, cases=len(decoded), error=str(error))
            return self._one_by_one(expert, decoded) if len(decoded) > 1 else []
        return [(job, prediction) for (job, _), prediction in zip(decoded, predictions, strict=True)]

    def _one_by_one(self, expert: Expert, decoded: list[tuple[Job, Pixels]]) -> list[tuple[Job, Prediction]]:
        """Find the case a batch fails on, so that it does not hold up the others for ever.

        It is refused only when the expert answers another: a broken expert is no fault of the cases, they wait for the next one.
        """
        answers: list[tuple[Job, Prediction]] = []
        failed: list[tuple[Job, str]] = []
        for job, pixels in decoded:
            try:
                answers.append((job, expert.answer([pixels])[0]))
            except (EngineError, InputError) as error:
                failed.append((job, str(error)))
        for job, reason in failed if answers else []:
            self._refuse(job, reason)
        return answers

    def _decoded(self, job: Job) -> Pixels | None:
        try:
            pixels, crop = self._decoder.decode(job.case.picture), job.case.crop
            return pixels if crop is None else paste(pixels, crop, max_pixels=self._decoder.max_pixels)
        except InputError as error:
            self._refuse(job, str(error))
            return None

    def _refuse(self, job: Job, reason: str) -> None:
        self._logger.warning(PICTURE_REFUSED, device=job.device, sequence=job.sequence, error=reason)
        self._figures.drop("picture")
        try:
            self._vault.refuse(job.id, reason)
        except StorageError:
            self._pause()  # it is refused when it comes again

    def _tell(self, answers: list[tuple[Job, Prediction]], release: int) -> None:
        at = clock.wall()
        for job, prediction in answers:
            age = clock.monotonic() - job.received_at
            if age <= ANSWERED_WITHIN_S:
                message = Answer(spool_id=job.spool, sequence=job.sequence, prediction=prediction, expert_release=release, at=at)
                self._send(job.device, Kind.ANSWER, message)
            self._figures.answered(clock.monotonic() - job.received_at, is_late=job.priority is Priority.LATE)

    def _keep(self, answers: list[tuple[Job, Prediction]], release: int) -> None:
        now = clock.wall()
        judged = {job.id: judge(job.device, job.case, prediction) for job, prediction in answers if job.case.is_audit}

        def note(connection: sqlite3.Connection, fresh: Sequence[int]) -> None:
            self._agreement.note(connection, [judged[case] for case in fresh if case in judged], now=now)

        try:
            self._vault.store_answers([(job.id, prediction) for job, prediction in answers], release=release, now=now, note=note)
        except StorageError as error:
            self._figures.storage_failures += 1
            self._logger.warning(ANSWERS_NOT_STORED, cases=len(answers), error=str(error))
            self._pause()

    def _pause(self) -> None:
        with self._changed:
            if not self._stopping:
                self._changed.wait_for(lambda: self._stopping, PAUSE_S)


def job_of(case: StoredCase, *, priority: Priority, deadline_s: float | None) -> Job:
    """Return a stored case as a job; `deadline_s` counts from its arrival, None sets no deadline."""
    received = clock.monotonic() - (clock.wall() - case.received_at)
    return Job(
        id=case.id,
        device=case.device,
        spool=case.spool,
        sequence=case.sequence,
        case=case.case,
        priority=priority,
        received_at=received,
        deadline=float("inf") if deadline_s is None else received + deadline_s,
    )
