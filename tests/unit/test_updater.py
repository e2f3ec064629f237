"""An update's whole way on a device: real repository, real ONNX Runtime engines, real slots; only the network is a folder."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud.publish import Repository
from edge.slots import Slots
from edge.swap import Service
from shared.errors import StorageError
from shared.release.trust import TrustedClient
from shared.vision.preprocess import prepare
from tests.unit import releases
from tests.unit.updater_parts import FIRST, FRAMES, SECOND, THIRD, WATCHED, World, calibrated

NOTHING = {"release": 0, "compared": 0, "lost": 0, "won": 0}


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
    assert running.updater.status() == {"state": "committed", "release": 1, "reason": "", "committed": [1], "compared": NOTHING}


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
