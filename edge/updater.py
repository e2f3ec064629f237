"""Brings releases into service: asks the relay, believes only trust, builds and tests beside the running model, swaps, watches, commits.

One thread of its own; the inference thread only ever sees `ModelSlot.swap`. The order is in `check` and `_bring`, the states in
swap, the files in slots. No failure here stops inference: a check that fails leaves a reason and is tried again. A committed release is
watched for some frames more, for as long as the one before it is still in the other slot: late evidence takes it back too.

Not here: when to ask (schedule), what may be believed (shared.release.trust), how engines are made (given in).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edge.choice import choose, unless_quarantined
from edge.delivery import Deliveries
from edge.fitness import latency_ms, unfit
from edge.model import LoadedModel, ModelSlot
from edge.pointer import Record
from edge.schedule import Schedule
from edge.shadow import Shadow
from edge.slots import Slot, Slots
from edge.swap import FINAL, Event, Probation, Service, State, Update, probation_for
from shared import clock, log
from shared.errors import EngineError, TerraceError, TrustError
from shared.release.desired import Wanted, cohort_position
from shared.release.trust import TargetInfo, TrustedClient
from shared.wire.messages import UpdateReport

STEPPED, ENDED, WAITING, BROKEN = "update_stepped", "update_ended", "update_waits", "updater_defect"
WATCH_S = 0.1
LoadModel = Callable[[Path, Path], LoadedModel]


class UpdaterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which family this device runs, who it is, how often it asks (seconds).

    A release is committed after `probation_frames`; for `watch_frames` more it is taken back when it is worse than the one before.
    """

    device: str
    fleet: str
    family: str = "student"
    interval_s: float = 300.0
    at_least_s: float = 60.0
    probation_frames: int = 200
    watch_frames: int = 2000


class Updater:
    """Keeps one device's model at the desired release.

    Args:
        settings: see UpdaterSettings.
        trust: the device's view of the repository.
        slots: the device's slots.
        models: the model in use.
        load: makes a running model from a model file and its card (e.g. `open_model` with the profile's engine).
        service: how a release has done in service since the process started.
        shadow: compares a release with the one before it on audit samples.
        report: takes the device's word on a release, for the uplink.
        downloads: a folder for files on their way.
    """

    def __init__(
        self,
        settings: UpdaterSettings,
        *,
        trust: TrustedClient,
        slots: Slots,
        models: ModelSlot,
        load: LoadModel,
        service: Callable[[int], Service],
        shadow: Shadow,
        report: Callable[[UpdateReport], None],
        downloads: Path,
    ) -> None:
        self._settings = settings
        self._trust = trust
        self._slots = slots
        self._models = models
        self._load = load
        self._service = service
        self._shadow = shadow
        self._report = report
        self._deliveries = Deliveries(trust, family=settings.family, downloads=downloads)
        place = cohort_position("schedule", settings.device)
        self._schedule = Schedule(interval_s=settings.interval_s, at_least_s=settings.at_least_s, place=place)
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="updater", daemon=True)
        self._update: Update | None = None
        self._live: Record | None = None
        self._before: LoadedModel | None = None
        self._watched_from = Service()
        self._probation = Probation(frames=settings.probation_frames)
        self._watched_to: int | None = None
        self._committed: list[int] = []
        self._latencies_ms: dict[int, float] = {}  # taken before a model serves: an engine is run by one thread at a time
        self._reason = ""
        self._reported = ""

    def start(self) -> None:
        """Begin with the model on disk, then keep it up to date.

        Raises:
            StorageError: the slots cannot be used.
        """
        self.boot()
        self._thread.start()

    def stop(self) -> None:
        """End after the step in hand; whatever was begun goes on after the next start."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def refresh(self) -> None:
        """Take the hint that there may be something new; acted on by the schedule. Returns at once, from any thread."""
        self._schedule.ask()
        self._wake.set()

    def status(self) -> dict[str, Any]:
        """Return what `terrace edge status` shows of updates."""
        update, model = self._update, self._models.current()
        return {
            "state": update.state.value if update else State.COMMITTED.value if self._committed else "none",
            "release": update.release if update else model.card.release if model else 0,
            "reason": self._reason,
            "committed": list(self._committed),
            "compared": self._compared(),
        }

    def _compared(self) -> dict[str, int]:
        release, paired = self._shadow.compared()
        return {"release": release, "compared": paired.audited, "lost": paired.lost, "won": paired.won}

    def boot(self) -> LoadedModel | None:
        """Bring the model on disk into service; a slot that cannot be loaded is given up for the other.

        Returns:
            The model, or None when the device has none yet.

        Raises:
            StorageError: the slots cannot be used.
        """
        boot = self._slots.boot()
        if boot.given_up is not None:
            self._give_word(boot.given_up.release, boot.slot.record.release if boot.slot else 0, State.FALLEN_BACK, boot.reason)
        if boot.slot is None:
            return None
        slot: Slot | None = boot.slot
        model = self._load_from(boot.slot)
        if model is None:
            slot = self._other_than(boot.slot, on_probation=boot.on_probation)
            model = self._load_from(slot) if slot else None
        if slot is not None and model is not None:
            self._enter(slot, model, on_probation=boot.on_probation and slot is boot.slot)
        return model

    def step(self) -> None:
        """Do what is due: watch a release on probation, or look for a new one."""
        if self._update is not None and self._update.state is State.LIVE:
            self._watch()
            return
        self._look_back()
        if self._schedule.wait_s(clock.monotonic()) <= 0:
            self._schedule.begin(clock.monotonic())
            self._schedule.end(failed=not self.check())

    def check(self) -> bool:
        """Ask for the desired state once and follow it; False when it has to be tried again soon."""
        try:
            self._trust.refresh()
            choice = self._choose()
            if choice is not None:
                self._bring(choice)
        except TerraceError as error:
            self._interrupt(error)
            return False
        return True

    def _run(self) -> None:
        logger = log.get("updater")
        while not self._stopping:
            try:
                self.step()
            except Exception as error:
                logger.exception(BROKEN, error=str(error))
                self._reason = f"a defect in the updater: {error}"
            watching = self._watched_to is not None or (self._update is not None and self._update.state is State.LIVE)
            self._wake.wait(WATCH_S if watching else max(WATCH_S, self._schedule.wait_s(clock.monotonic())))
            self._wake.clear()

    def _choose(self) -> Wanted | None:
        model = self._trust.desired(self._settings.fleet).models.get(self._settings.family)
        current = self._running()
        minimum = self._trust.floors().minimum.get(self._settings.family, 0)
        found = choose(model, device=self._settings.device, running=current.record.release if current else 0, minimum=minimum)
        if found.wanted is not None:
            info = self._trust.require(found.wanted.path(self._settings.family, "onnx"))
            found = unless_quarantined(found, onnx_sha256=info.sha256, quarantined=self._slots.quarantined())
        self._reason = found.reason
        return found.wanted

    def _running(self) -> Slot | None:
        return self._slots.live() if self._models.current() is not None else None

    def _bring(self, choice: Wanted) -> None:
        """Walk one release from offered to live, and to committed when it is the first."""
        current = self._running()
        self._update = Update(release=choice.release, from_release=current.record.release if current else 0)
        onnx = self._trust.require(choice.path(self._settings.family, "onnx"))
        card = self._trust.require(choice.path(self._settings.family, "card.json"))
        slot = self._slots.staged(onnx.sha256, card.sha256) or self._stage(choice, onnx, card, current)
        if self._update.state is State.OFFERED:
            self._move(Event.STAGE)
        try:
            model = self._load(slot.onnx, slot.card)
            self._move(Event.BUILD)
            self._self_test(model, choice)
        except (EngineError, _UnfitError) as error:
            self._refuse(slot, str(error))
            return
        self._move(Event.PASS)
        self._go_live(slot, model)

    def _stage(self, choice: Wanted, onnx: TargetInfo, card: TargetInfo, current: Slot | None) -> Slot:
        found = self._deliveries.fetch(choice, onnx, card, current=current)
        if self._update is not None:
            self._update = msgspec.structs.replace(self._update, bytes_fetched=found.bytes_fetched, by_delta=found.by_delta)
        self._move(Event.FETCH)
        self._move(Event.VERIFY)  # fetch and delta both end in the target's own signed hash
        self._end_watch()  # what is staged takes the place of the release before
        slot = self._slots.stage(found.onnx, found.card, release=choice.release, role=choice.role)
        self._deliveries.clear()
        self._move(Event.STAGE)
        return slot

    def _self_test(self, model: LoadedModel, choice: Wanted) -> None:
        current = self._models.current()
        self._latencies_ms[choice.release] = taken = latency_ms(model)
        before = self._latencies_ms.get(current.card.release) if current else None
        reason = unfit(model, family=self._settings.family, release=choice.release, taken_ms=taken, before_ms=before)
        if reason:
            raise _UnfitError(reason)

    def _go_live(self, slot: Slot, model: LoadedModel) -> None:
        is_first = self._slots.committed() is None
        self._slots.make_live(slot)  # the pointer first: a power cut between the two starts the new release on probation
        if is_first:
            self._slots.commit()
        self._move(Event.SWAP)
        self._enter(slot, model, on_probation=not is_first)
        if is_first:
            self._end(Event.COMMIT, "it is this device's first")

    def _enter(self, slot: Slot, model: LoadedModel, *, on_probation: bool) -> None:
        """Swap a model in between two frames and remember what to compare it with."""
        before = self._models.current()
        seen = self._service(before.card.release) if before else Service()
        self._probation = probation_for(model.card, frames=self._settings.probation_frames, before=seen)
        self._watched_from = self._service(slot.record.release)
        self._latencies_ms.setdefault(slot.record.release, latency_ms(model))
        self._before = self._models.swap(model)
        self._live, self._watched_to = slot.record, None
        committed = self._slots.committed()
        if on_probation:
            self._before = self._before or (self._load_from(committed) if committed else None)  # after a restart it is on disk only
            self._shadow.begin(slot.record.release, self._before)
        if not on_probation:
            self._committed = self._committed or [slot.record.release]
        elif self._update is None and committed is not None:  # started anew in the middle of a probation
            self._committed = [committed.record.release]
            self._update = Update(release=slot.record.release, from_release=committed.record.release, state=State.LIVE)

    def _watch(self) -> None:
        if self._live is None:
            return
        service = self._service(self._live.release)
        verdict = self._probation.verdict(service.since(self._watched_from), self._shadow.paired())
        if verdict == "":
            self._slots.commit()
            self._watched_to = service.frames + self._settings.watch_frames
            self._end(Event.COMMIT, f"it answered {self._settings.probation_frames} frames")
        elif verdict is not None:
            self._return_to(self._slots.fall_back(self._live, verdict), verdict)

    def _look_back(self) -> None:
        """Watch a committed release for a while more (the one before is still in the other slot)."""
        if self._watched_to is None or self._live is None:
            return
        paired = self._shadow.paired()
        if paired.is_worse and (slot := self._slots.take_back(self._live, paired.words())) is not None:
            self._update = Update(release=self._live.release, from_release=slot.record.release, state=State.COMMITTED)
            self._return_to(slot, paired.words())
        elif paired.is_worse or self._service(self._live.release).frames >= self._watched_to:
            self._end_watch()

    def _end_watch(self) -> None:
        self._watched_to = None
        self._before = None
        self._shadow.end()

    def _return_to(self, slot: Slot | None, reason: str) -> None:
        self._shadow.end()  # now nobody but the inference thread runs the model before
        before = self._before or (self._load_from(slot) if slot else None)
        if before is not None and slot is not None:
            self._models.swap(before)
            self._live = slot.record
            self._committed = [number for number in self._committed if number != slot.record.release] + [slot.record.release]
        self._end_watch()
        self._end(Event.FAIL, reason)

    def _refuse(self, slot: Slot, reason: str) -> None:
        self._slots.quarantine(slot.record, reason)
        self._slots.discard(slot)
        self._end(Event.FAIL, reason)

    def _interrupt(self, error: TerraceError) -> None:
        self._reason = str(error)
        log.get("updater").warning(WAITING, reason=self._reason)
        update = self._update
        if update is None or update.state in FINAL or update.state is State.LIVE:
            return
        self._update = update.after(Event.INTERRUPT, self._reason)
        if isinstance(error, TrustError) and self._reported != (word := f"{update.release} {error.message}"):
            self._reported = word  # once, not at every try: whoever sits between may go on for days
            self._give_word(update.release, update.from_release, State.REFUSED, self._reason)

    def _other_than(self, slot: Slot, *, on_probation: bool) -> Slot | None:
        """Turn away from a slot that cannot be loaded; only a release that was never committed is blamed for it."""
        if not on_probation:
            return self._slots.turn_to_other(slot)
        other = self._slots.fall_back(slot.record, self._reason)
        self._give_word(slot.record.release, other.record.release if other else 0, State.FALLEN_BACK, self._reason)
        return other

    def _load_from(self, slot: Slot) -> LoadedModel | None:
        try:
            return self._load(slot.onnx, slot.card)
        except TerraceError as error:
            log.get("updater").error(BROKEN, release=slot.record.release, reason=str(error))
            self._reason = str(error)
            return None

    def _move(self, event: Event, reason: str = "") -> None:
        if self._update is not None:
            self._update = self._update.after(event, reason)
            log.get("updater").info(STEPPED, release=self._update.release, state=self._update.state.value)

    def _end(self, event: Event, reason: str) -> None:
        self._move(event, reason)
        update = self._update
        if update is None:
            return
        self._reason = reason if event is Event.FAIL else ""
        if update.state is State.COMMITTED:
            self._committed = [number for number in self._committed if number != update.release] + [update.release]
        self._give_word(update.release, update.from_release, update.state, reason)

    def _give_word(self, release: int, from_release: int, state: State, reason: str) -> None:
        update = self._update
        log.get("updater").info(ENDED, release=release, before=from_release, state=state.value, reason=reason)
        self._report(
            UpdateReport(
                at=clock.wall(),
                model=self._settings.family,
                release=release,
                from_release=from_release,
                state=state.value,
                reason=reason,
                bytes_fetched=update.bytes_fetched if update else 0,
                by_delta=update.by_delta if update else False,
            )
        )


class _UnfitError(Exception):
    """The release does not do what its card says; carries the reason."""
