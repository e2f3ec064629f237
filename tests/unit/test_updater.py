"""An update's whole way on a device: real repository, real ONNX Runtime engines, real slots; only the network is a folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud.publish import Repository
from edge.model import LoadedModel, ModelSlot, open_model
from edge.schedule import Schedule
from edge.selftest import compare, judge_latency
from edge.shadow import Shadow
from edge.slots import Slots
from edge.swap import FINAL, TABLE, Event, Probation, Service, State, Update, diagram, probation_for
from edge.updater import Updater, UpdaterSettings
from shared.engines.onnx import OnnxEngine
from shared.errors import EngineError, LinkError, StorageError
from shared.release.card import Calibration, CurvePoint, decode_card
from shared.release.fetch import from_folder
from shared.release.trust import TrustedClient
from shared.vision.preprocess import prepare
from shared.wire.messages import UpdateReport
from tests.unit import releases

FIRST, SECOND, THIRD = releases.model(1), releases.model(1, moved=0.01), releases.model(1, moved=0.02)
FRAMES, WATCHED = 10, 500


class World:
    """A cloud's repository, a relay that can be cut or lie, and one device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = Repository.create(folder / "repository", folder / "keys")
        self.served: dict[int, Service] = {}
        self.reports: list[UpdateReport] = []
        self.fetched: list[str] = []
        self.cut = ""
        self.tampered = ""
        self.broken_engine: set[int] = set()
        self.models = ModelSlot()
        self.updater = self.restart()

    def publish(self, release: int, data: bytes, *, bases: tuple[int, ...] = (), desire: dict[str, Any] | None = None, **card: Any) -> None:
        releases.add(self.repository, self.folder, data, release, bases=bases, **card)
        releases.desire(self.repository, release, deltas=bases, **(desire or {}))

    def restart(self) -> Updater:
        """Start the device's agent anew: memory is lost, the disk is not."""
        self.models = ModelSlot()
        self.shadow = Shadow()
        self.served = {}
        device = self.folder / "device"
        self.updater = Updater(
            UpdaterSettings(
                device="edge-1.region-1",
                fleet=releases.FLEET,
                probation_frames=FRAMES,
                watch_frames=WATCHED,
                interval_s=0.05,
                at_least_s=0.0,
            ),
            trust=TrustedClient(device / "trust", bootstrap_root=self.repository.root(), fetch=self.fetch),
            slots=Slots(device / "slots"),
            models=self.models,
            load=self.load,
            service=lambda release: self.served.get(release, Service()),
            shadow=self.shadow,
            report=self.reports.append,
            downloads=device / "downloads",
        )
        self.updater.boot()
        return self.updater

    def fetch(self, path: str, offset: int) -> Iterator[bytes]:
        self.fetched.append(path)
        if self.cut and self.cut in path:
            raise LinkError("the relay is gone.")
        for chunk in from_folder(self.repository.folder)(path, offset):
            yield b"\0" * len(chunk) if self.tampered and path.endswith(self.tampered) else chunk

    def load(self, onnx: Path, card: Path) -> LoadedModel:
        release = decode_card(card.read_bytes()).release
        if release in self.broken_engine:
            raise EngineError(f"release {release} cannot be built here.")
        return open_model(onnx, card, OnnxEngine)

    def serve(self, frames: int = FRAMES, *, failures: int = 0, deferred: int = 0) -> None:
        """Let the running model answer frames, then let the updater look."""
        release = self.running()
        before = self.served.get(release, Service())
        self.served[release] = Service(
            frames=before.frames + frames, failures=before.failures + failures, deferred=before.deferred + deferred
        )
        self.updater.step()

    def running(self) -> int:
        model = self.models.current()
        return model.card.release if model else 0

    def on_disk(self) -> int:
        slot = Slots(self.folder / "device" / "slots").committed()
        return slot.record.release if slot else 0

    def last(self) -> tuple[int, str]:
        return self.reports[-1].release, self.reports[-1].state


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.publish(1, FIRST)
    return made


@pytest.fixture
def running(world: World) -> World:
    assert world.updater.check()
    return world


def test_the_first_release_is_committed_after_its_self_test(running: World) -> None:
    assert (running.running(), running.on_disk(), running.last()) == (1, 1, (1, "committed"))
    assert running.updater.status() == {"state": "committed", "release": 1, "reason": "", "committed": [1]}


def test_an_update_by_delta_walks_to_committed(running: World) -> None:
    running.publish(2, SECOND, bases=(1,))
    running.fetched.clear()
    assert running.updater.check()
    assert not any(path.endswith(".onnx") for path in running.fetched)
    assert (running.running(), running.on_disk(), running.updater.status()["state"]) == (2, 1, "live")
    running.serve(FRAMES - 1)
    assert running.on_disk() == 1
    running.serve(1)
    report = running.reports[-1]
    assert (report.release, report.from_release, report.state, report.by_delta) == (2, 1, "committed", True)
    assert 0 < report.bytes_fetched < len(SECOND) / 2
    assert (running.on_disk(), running.updater.status()["committed"]) == (2, [1, 2])
    model = running.models.current()
    assert model is not None
    said = model.engine.run(prepare(releases.frames(), model.card.input))
    assert np.allclose(said, releases.logits_of(SECOND, releases.frames()), atol=1e-3)


def test_nothing_is_done_twice(running: World) -> None:
    count = len(running.reports)
    assert running.updater.check()
    assert running.updater.check()
    assert (len(running.reports), running.running()) == (count, 1)


def test_without_a_delta_the_full_file_is_fetched(running: World) -> None:
    running.publish(2, SECOND)
    running.updater.check()
    running.serve()
    assert (running.last(), running.reports[-1].by_delta) == ((2, "committed"), False)
    assert running.reports[-1].bytes_fetched > len(SECOND)


def test_a_lying_delta_falls_back_to_the_full_file(running: World) -> None:
    running.publish(2, SECOND, bases=(1,))
    running.tampered = ".delta"
    assert running.updater.check()
    running.serve()
    assert (running.last(), running.reports[-1].by_delta) == ((2, "committed"), False)


def test_a_tampered_model_is_refused_once_and_tried_again(running: World) -> None:
    running.publish(2, SECOND)
    running.tampered = "000002.onnx"
    assert not running.updater.check()
    assert not running.updater.check()
    assert [(report.release, report.state) for report in running.reports[1:]] == [(2, "refused")]
    assert running.running() == 1
    running.tampered = ""
    assert running.updater.check()
    running.serve()
    assert running.last() == (2, "committed")


@pytest.mark.parametrize("place", ["timestamp", "rollout", "000002.card", "000002.onnx"])
def test_a_lost_link_is_tried_again(running: World, place: str) -> None:
    running.publish(2, SECOND)
    running.cut = place
    assert not running.updater.check()
    assert "relay is gone" in running.updater.status()["reason"]
    assert running.running() == 1
    running.cut = ""
    assert running.updater.check()
    assert running.running() == 2


def wrong_logits(data: bytes) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) + 1.0 for value in row) for row in releases.logits_of(data, releases.frames()))


def test_a_release_that_fails_its_self_test_is_quarantined(running: World) -> None:
    running.publish(2, SECOND, logits=wrong_logits(SECOND))
    assert running.updater.check()
    assert running.last() == (2, "refused")
    assert "logits differ" in running.reports[-1].reason
    running.restart()
    running.fetched.clear()
    assert running.updater.check()
    assert (running.running(), len(running.reports)) == (1, 2)
    assert not any("000002.onnx" in path for path in running.fetched)
    assert "quarantined" in running.updater.status()["reason"]
    running.publish(3, THIRD)
    running.updater.check()
    running.serve()
    assert running.last() == (3, "committed")


def test_a_release_the_engine_cannot_build_is_refused(running: World) -> None:
    running.broken_engine.add(2)
    running.publish(2, SECOND)
    assert running.updater.check()
    assert (running.last(), running.running()) == ((2, "refused"), 1)


def test_a_release_that_fails_in_service_is_taken_back(running: World) -> None:
    before = running.models.current()
    running.publish(2, SECOND, bases=(1,))
    running.updater.check()
    running.serve(2, failures=1)
    assert (running.last(), running.running(), running.on_disk()) == ((2, "fallen_back"), 1, 1)
    assert running.models.current() is before
    assert running.updater.check()
    assert running.running() == 1


def calibrated(promised: float) -> dict[str, Any]:
    calibration = Calibration(score="margin", threshold=1.0, epsilon=0.01, delta=0.05, risk_bound=0.01, units=9, frames=9)
    point = CurvePoint(threshold=1.0, deferred_share=promised, system_accuracy=0.9)
    return {"calibration": calibration, "deferral_curve": (point,)}


def test_a_release_that_defers_far_too_much_is_taken_back(running: World) -> None:
    running.publish(2, SECOND, **calibrated(0.1))
    running.updater.check()
    running.serve(deferred=9)
    assert running.last() == (2, "fallen_back")
    assert "defers 90%" in running.reports[-1].reason


def judge(world: World, samples: int, *, agrees: bool, agreed_before: bool = True) -> None:
    """Let audit samples be answered; the updater looks later."""
    paired = world.shadow.paired()
    for _ in range(samples):
        paired = paired.add(agrees=agrees, agreed_before=agreed_before)
    world.shadow._paired = paired


def test_a_release_that_is_worse_on_audit_samples_falls_back_during_probation(running: World) -> None:
    running.publish(2, SECOND)
    running.updater.check()
    before = running.models.current()
    assert before is not None
    judge(running, 3, agrees=True)
    judge(running, 20, agrees=False)
    running.serve(1)
    assert (running.last(), running.running(), running.on_disk()) == ((2, "fallen_back"), 1, 1)
    assert running.reports[-1].reason == "it agrees with the expert on 13 % of 23 audit samples, 100 % before"
    assert running.updater.check()
    assert running.running() == 1  # quarantined


def test_late_evidence_takes_a_committed_release_back(running: World) -> None:
    running.publish(2, SECOND)
    running.updater.check()
    running.serve()
    assert (running.last(), running.on_disk()) == ((2, "committed"), 2)
    running.serve(100)
    assert running.running() == 2
    judge(running, 20, agrees=False)
    running.serve(1)
    assert (running.last(), running.running(), running.on_disk()) == ((2, "fallen_back"), 1, 1)
    assert running.updater.status()["committed"] == [2, 1]
    running.restart()
    assert running.running() == 1


def test_the_watch_ends_after_its_frames(running: World) -> None:
    running.publish(2, SECOND)
    running.updater.check()
    running.serve()
    running.serve(WATCHED)
    judge(running, 20, agrees=False)
    running.serve(1)
    assert (running.last(), running.running()) == ((2, "committed"), 2)


def test_the_next_release_ends_the_watch_of_the_one_before(running: World) -> None:
    running.publish(2, SECOND)
    running.updater.check()
    running.serve()
    judge(running, 20, agrees=False)
    running.publish(3, THIRD)
    assert running.updater.check()
    assert (running.running(), running.shadow.paired().audited) == (3, 0)
    running.serve()
    assert running.last() == (3, "committed")


def test_a_probation_goes_on_after_a_restart_beside_the_model_on_disk(running: World) -> None:
    running.publish(2, SECOND)
    running.updater.check()
    running.restart()
    assert running.running() == 2
    before = running.shadow._before
    assert before is not None
    assert before.card.release == 1
    judge(running, 20, agrees=False)
    running.serve(1)
    assert (running.last(), running.running()) == ((2, "fallen_back"), 1)


def test_going_back_is_a_newer_word_naming_an_older_release(running: World) -> None:
    running.publish(2, SECOND)
    running.updater.check()
    running.serve()
    releases.desire(running.repository, 1)
    running.updater.check()
    running.serve()
    assert (running.last(), running.on_disk()) == ((1, "committed"), 1)


def test_never_below_the_minimum(running: World) -> None:
    running.publish(2, SECOND, desire={"minimum_release": 2})
    running.updater.check()
    running.serve()
    floors = TrustedClient(running.folder / "device" / "trust", bootstrap_root=b"", fetch=running.fetch).floors()
    assert floors.minimum == {"student": 2}
    assert running.updater.check()
    assert running.running() == 2


def test_outside_the_cohort_the_previous_release_is_wanted(running: World) -> None:
    running.publish(2, SECOND, desire={"cohort_share": 0.0, "previous": 1})
    assert running.updater.check()
    assert (running.running(), len(running.reports)) == (1, 1)


def test_expired_metadata_blocks_updates_and_nothing_else(running: World) -> None:
    running.publish(2, SECOND)
    expired = Repository(running.repository.folder, running.folder / "keys", lifetimes={"timestamp": -60})
    expired.refresh_timestamp()
    assert not running.updater.check()
    assert "expired" in running.updater.status()["reason"]
    assert running.running() == 1
    running.repository.refresh_timestamp()
    assert running.updater.check()
    assert running.running() == 2


@pytest.mark.parametrize("moment", ["card", "onnx", "stage", "build", "live"])
def test_a_restart_in_any_state_goes_on(running: World, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    running.publish(2, SECOND)
    with monkeypatch.context() as patch:
        if moment in {"card", "onnx"}:
            running.cut = f"000002.{moment}"
        if moment == "stage":
            patch.setattr(Slots, "make_live", raise_full)
        if moment == "build":
            patch.setattr(running, "load", raise_full)
            running.updater._load = running.load
        running.updater.check()
    running.cut = ""
    running.restart()
    running.fetched.clear()
    assert running.running() == (2 if moment == "live" else 1)
    running.updater.step()
    if moment in {"stage", "build"}:
        assert not any(path.startswith("targets/models") for path in running.fetched)
    running.serve()
    assert (running.last(), running.on_disk(), running.running()) == ((2, "committed"), 2, 2)


def raise_full(*given: Any) -> Any:
    raise StorageError("the disk is full.")


def test_crashing_again_and_again_on_probation_falls_back(running: World) -> None:
    running.publish(2, SECOND)
    running.updater.check()
    for _ in range(3):
        running.restart()
        assert running.running() == 2
    running.restart()
    assert (running.running(), running.last()) == (1, (2, "fallen_back"))
    running.updater.check()
    assert running.running() == 1


def test_a_release_on_probation_that_no_longer_loads_is_taken_back(running: World) -> None:
    running.publish(2, SECOND)
    running.updater.check()
    running.broken_engine.add(2)
    running.restart()
    assert (running.running(), running.last(), running.on_disk()) == (1, (2, "fallen_back"), 1)


def test_a_committed_release_that_no_longer_loads_gives_way_and_comes_back(running: World) -> None:
    running.publish(2, SECOND)
    running.updater.check()
    running.serve()
    running.broken_engine.add(2)
    running.restart()
    assert running.running() == 1
    running.broken_engine.clear()
    assert running.updater.check()
    assert running.running() == 2


def test_the_thread_follows_a_refresh(world: World) -> None:
    world.updater.start()
    try:
        assert world.models.wait(10)
        world.publish(2, SECOND, bases=(1,))
        world.updater.refresh()
        done = threading.Event()
        for _ in range(200):
            if world.running() == 2:
                world.served[2] = Service(frames=FRAMES)
            if world.last() == (2, "committed") or done.wait(0.05):
                break
        assert world.last() == (2, "committed")
    finally:
        world.updater.stop()


def test_a_defect_does_not_end_updates(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = threading.Semaphore(0)

    def broken() -> bool:
        calls.release()
        raise RuntimeError("a defect")

    monkeypatch.setattr(world.updater, "check", broken)
    world.updater.start()
    try:
        assert calls.acquire(timeout=10)
        assert calls.acquire(timeout=10)
    finally:
        world.updater.stop()


# The pure parts.


def test_the_table_is_whole() -> None:
    ends = {state for state in State if not any(before is state for before, _ in TABLE)}
    assert ends | {State.COMMITTED} == FINAL  # committed is an end, and for a while not the last word
    reached = {State.OFFERED, *TABLE.values()}
    assert reached == set(State)
    for (before, event), after in TABLE.items():
        assert Update(release=2, from_release=1, state=before).after(event, "why").state is after
    with pytest.raises(ValueError, match="cannot happen"):
        Update(release=2, from_release=1).after(Event.COMMIT)
    assert "SELF_TESTED --> LIVE: swap" in diagram()


@pytest.mark.parametrize(
    ("service", "verdict"),
    [
        (Service(frames=9), None),
        (Service(frames=10), ""),
        (Service(frames=3, failures=1), "it failed on 1 of 4 frames"),
        (Service(frames=10, deferred=8), "it defers 80% of frames, 0% to 50% were expected"),
    ],
)
def test_probation(service: Service, verdict: str | None) -> None:
    assert Probation(frames=10, highest=0.5).verdict(service) == verdict


def test_probation_follows_the_card_and_the_light() -> None:
    card = decode_card(releases.card(FIRST, 1, **calibrated(0.1)))
    assert probation_for(card, frames=200, before=Service()).highest == pytest.approx(0.4)
    assert probation_for(card, frames=200, before=Service(frames=10, deferred=6)).highest == pytest.approx(0.8)
    assert probation_for(card, frames=200, before=Service(frames=10, deferred=1)).lowest == pytest.approx(1 / 200)
    assert probation_for(decode_card(releases.card(FIRST, 1)), frames=200, before=Service()).highest == 1.0


def test_the_self_test_compares() -> None:
    test = decode_card(releases.card(FIRST, 1)).self_test
    right = np.asarray(test.logits, np.float32)
    assert compare(test, right) == ""
    assert compare(test, right + test.tolerance / 2) == ""
    assert "differ by" in compare(test, right + 1)
    assert "shape" in compare(test, right[:, :2])
    assert "finite" in compare(test, right * np.nan)
    assert judge_latency(30, 10) == ""
    assert judge_latency(61, 10) != ""
    assert judge_latency(3000, None) != ""


def test_the_schedule_is_patient() -> None:
    schedule = Schedule(interval_s=300, at_least_s=60)
    assert schedule.wait_s(0) == 0
    schedule.begin(0)
    schedule.end(failed=False)
    assert schedule.wait_s(0) == 300
    for _ in range(5):
        schedule.ask()
    assert schedule.wait_s(10) == 50
    schedule.begin(60)
    schedule.end(failed=True)
    assert schedule.wait_s(60) == 60
    schedule.begin(120)
    schedule.end(failed=True)
    assert schedule.wait_s(120) == 120


def test_a_new_device_asks_again_soon_until_it_was_answered_once() -> None:
    schedule = Schedule(interval_s=300, at_least_s=60)
    waits = []
    for now in range(0, 600, 100):
        schedule.begin(now)
        schedule.end(failed=True)
        waits.append(schedule.wait_s(now))
    assert waits == [2, 4, 8, 16, 32, 60]
    schedule.begin(700)
    schedule.end(failed=False)
    schedule.begin(1000)
    schedule.end(failed=True)
    assert schedule.wait_s(1000) == 60
