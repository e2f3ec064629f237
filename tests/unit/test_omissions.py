"""Audit samples left out: a device that does it is found, however it drops frames; an honest one never is, whatever its link does."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.alerts import alerts_of
from cloud.records import Region
from region.auditbook import AuditBook
from region.auditwatch import LEFT_OUT, AuditWatch
from region.omissions import LONGEST_S, Omissions, Omitted, left_out
from region.summary import compose
from region.vault import Vault
from shared.audit import AuditLog
from shared.deferral.audit import is_audit
from shared.wire.messages import StreamCounts, Telemetry
from shared.wire.reports import FleetReport

ONE = "edge-1.region-1"
KEY = bytes(range(32))


class Camera:
    """A device with one stream: draws, drops frames it has no time for, sends what it drew, and leaves out what `omits` says.

    Args:
        region: takes what it says.
        drops: share of frames that are replaced before anybody looks at them.
        omits: whether it leaves out the sample of a frame.
    """

    def __init__(self, region: Omissions, *, seed: int = 1, drops: float = 0.0, omits: Callable[[int], bool] = lambda frame: False) -> None:
        self.region, self.drops, self.omits = region, drops, omits
        self.random = random.Random(seed)
        self.share, self.epoch, self.evicted, self.lost, self.now = 0.05, 1, 0, 0, 0.0
        self.frames = self.inferred = 0
        self.last = -1
        self.spool: list[int] = []
        self.total = Omitted()

    def works(self, frames: int) -> None:
        for frame in range(self.frames, self.frames + frames):
            if self.random.random() < self.drops:
                continue
            self.inferred, self.last = self.inferred + 1, frame
            if is_audit(KEY, "line", frame, self.share) and not self.omits(frame):
                self.spool.append(frame)
        self.frames += frames

    def sends(self) -> None:
        for frame in self.spool:
            self.region.came(ONE, "line", frame)
        self.spool.clear()

    def tells(self, *, pause_s: float = 5.0, inferred: int | None = None) -> None:
        self.now += pause_s
        counts = StreamCounts(
            stream="line", frames=self.frames, dropped=0, kept=self.inferred if inferred is None else inferred, deferred=0, audited=0,
            last_frame=self.last,
        )  # fmt: skip
        message = Telemetry(
            at=self.now, floor=0, release=1, update_state="", streams=(counts,), spool_cases=len(self.spool), spool_bytes=0,
            evicted=self.evicted, audit_share=self.share, audits_lost=self.lost,
        )  # fmt: skip
        self.total = self.total.plus(self.region.told(ONE, message, epoch=self.epoch, key=KEY, now=self.now))

    def goes_on(self, rounds: int) -> Omitted:
        for _ in range(rounds):
            self.works(100)
            self.sends()
            self.tells()
        for _ in range(3):
            self.tells()
        return self.total

    @property
    def is_guilty(self) -> bool:
        return left_out(missing=self.total.missing, expected=self.total.expected)


def test_without_drops_every_sample_is_accounted_for() -> None:
    camera = Camera(Omissions())
    camera.tells()
    found = camera.goes_on(50)
    drawn = sum(is_audit(KEY, "line", frame, 0.05) for frame in range(100, 5000))
    assert drawn <= found.drawn <= drawn + 10
    assert (found.missing, found.expected) == (0, 0.0)


@pytest.mark.parametrize("drops", [0.0, 0.3, 0.7, 0.95])
@pytest.mark.parametrize("seed", range(5))
def test_an_honest_device_is_never_accused_whatever_it_drops(drops: float, seed: int) -> None:
    camera = Camera(Omissions(), drops=drops, seed=seed)
    for _ in range(30):
        camera.goes_on(10)
        assert not camera.is_guilty
    assert camera.total.drawn > 500


@pytest.mark.parametrize(("drops", "within"), [(0.0, 500), (0.3, 2_000), (0.7, 12_000)])
def test_one_that_leaves_all_samples_out_is_found(drops: float, within: int) -> None:
    camera = Camera(Omissions(), drops=drops, omits=lambda frame: True)
    camera.tells()
    while not camera.is_guilty:
        camera.goes_on(2)
        assert camera.frames < within
    assert camera.total.missing >= 5


@pytest.mark.parametrize(("drops", "within"), [(0.0, 2_000), (0.3, 40_000)])
def test_one_that_leaves_out_a_third_is_found_later(drops: float, within: int) -> None:
    camera = Camera(Omissions(), drops=drops, omits=lambda frame: frame % 3 == 0)
    camera.tells()
    while not camera.is_guilty:
        camera.goes_on(5)
        assert camera.frames < within


def test_what_waits_in_the_spool_is_not_missing_and_what_was_given_up_is_not_judged() -> None:
    camera = Camera(Omissions())
    camera.tells()
    for _ in range(20):  # the link is down for cases; telemetry comes
        camera.works(100)
        camera.tells()
    assert camera.total == Omitted()
    camera.sends()
    camera.tells()
    camera.tells()
    assert (camera.total.missing, camera.is_guilty) == (0, False)
    camera.works(100)
    camera.tells()
    camera.evicted += len(camera.spool)  # its spool was full
    camera.spool.clear()
    for _ in range(3):
        camera.tells()
    assert camera.total.missing == 0
    assert camera.total.unjudged > 0


@pytest.mark.parametrize("change", ["epoch", "share", "silence", "restart", "lost"])
def test_an_interval_in_which_something_changed_is_not_judged(change: str) -> None:
    camera = Camera(Omissions(), omits=lambda frame: True)
    camera.tells()
    for _ in range(20):
        camera.works(100)
        if change == "epoch":
            camera.epoch += 1
        elif change == "share":
            camera.share = 0.06 if camera.share == 0.05 else 0.05
        elif change == "lost":
            camera.lost += 1
        elif change == "restart":
            camera.inferred, camera.frames = 0, camera.frames + 4096
        camera.tells(pause_s=LONGEST_S + 1 if change == "silence" else 5.0)
    for _ in range(3):
        camera.tells()
    assert (camera.total.missing, camera.is_guilty) == (0, False)
    assert camera.total.unjudged >= (0 if change == "restart" else 1900)  # which the region counts


@given(st.lists(st.tuples(st.integers(-1, 30_000), st.integers(0, 30_000), st.integers(0, 3)), max_size=20))
def test_nonsense_neither_accuses_nor_raises(said: list[tuple[int, int, int]]) -> None:
    region = Omissions()
    for number, (last, kept, cases) in enumerate(said):
        counts = StreamCounts(stream="line", frames=0, dropped=0, kept=kept, deferred=0, audited=0, last_frame=last)
        message = Telemetry(
            at=0.0, floor=0, release=0, update_state="", streams=(counts,), spool_cases=cases, spool_bytes=0, audit_share=0.01
        )
        found = region.told(ONE, message, epoch=1, key=KEY, now=float(number))
        assert 0 <= found.missing <= found.drawn
        assert 0 <= found.expected <= found.drawn


@given(st.integers(0, 500), st.floats(0, 500))
def test_the_bound_is_a_bound(missing: int, expected: float) -> None:
    if left_out(missing=missing, expected=expected):
        assert missing >= 5
        assert missing > expected
        assert left_out(missing=missing + 1, expected=expected)
        assert left_out(missing=missing, expected=expected / 2)


@given(st.integers(0, 10_000))
def test_by_chance_nobody_is_accused(seed: int) -> None:
    generator = random.Random(seed)
    drawn, drops = generator.randint(1, 300), generator.random()
    missing = sum(generator.random() < drops for _ in range(drawn))
    assert not left_out(missing=missing, expected=drawn * drops)


def test_the_region_keeps_it_tells_it_once_and_the_cloud_is_alerted(tmp_path: Path) -> None:
    vault, audit = Vault(tmp_path / "vault.db"), AuditLog(tmp_path / "audit.db")
    vault.start()
    watch = AuditWatch(AuditBook(vault.database), audit, "region-1")
    watch._found = {ONE: Omitted(drawn=40, missing=30, expected=2.0, unjudged=7)}
    watch.once(now=0.0, at=100.0)
    watch._found = {ONE: Omitted(drawn=4, missing=3), "edge-2.region-1": Omitted(drawn=100, missing=30, expected=29.0)}
    watch.once(now=5.0, at=105.0)
    assert watch._found
    watch.once(now=10.0, at=110.0)
    again = AuditWatch(AuditBook(vault.database), audit, "region-1")
    again._found = {ONE: Omitted(drawn=1, missing=1)}
    again.once(now=0.0, at=200.0)
    (entry,) = audit.entries()
    assert (entry.action, entry.subject, entry.detail) == (LEFT_OUT, ONE, {"drawn": 40, "missing": 30, "explained_by_drops": 2.0})
    kept = AuditBook(vault.database).read()
    assert kept[ONE] == Omitted(drawn=45, missing=34, expected=2.0, unjudged=7)
    vault.stop()
    omissions = {"drawn": 45, "missing": 34, "left_out": True}
    entries = {ONE: {"heard_at": 100.0, "connected_recently": True, "omissions": omissions}}
    report = compose({}, {"name": "region-1", "devices": entries}, now=100.0)
    assert isinstance(report, FleetReport)
    region = Region(name="region-1", node=1, seen_at=100.0, report=report, cases_learned=0)
    alerts = alerts_of(
        regions=[region], devices=[("region-1", device) for device in report.devices], rollouts=[], rounds=[], certificates={}, now=100.0
    )
    assert [alert.id for alert in alerts] == [f"audits-left-out/{ONE}"]
