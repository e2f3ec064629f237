"""A device's limits: who obeys credit is slowed and never dropped, who does not is kept out, and everybody else is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from region.config import LimitSettings
from region.guard import QUARANTINED, REFUSED, RELEASED, TOO_MANY_REFUSED, TOO_MUCH, Guard
from region.incidents import AGAIN_S, MOST, Incidents
from region.letters import Letter, Letters
from region.limits import AHEAD_MESSAGES, Bucket, DeviceLimits, Limits, Rates, Verdict
from region.liveepoch import CREDIT_WINDOW
from region.quarantine import Quarantine
from region.quarantine_cli import app
from shared.audit import AuditLog
from shared.errors import InputError, ProtocolError
from tests.examples import LONG_RUN

RATES = Rates(messages_per_s=100.0, bytes_per_s=1e9, refused_per_s=10.0, patience_s=3.0)
ONE, TWO = "edge-1.region-1", "edge-2.region-1"


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 20_000)), max_size=60))
def test_the_level_is_never_above_the_burst_and_time_only_fills(steps: list[tuple[float, int]]) -> None:
    bucket, now, level = Bucket(rate=100.0, burst=200.0, ahead=50.0, patience=300.0), 0.0, 200.0
    for pause, tokens in steps:
        now += pause
        level = min(200.0, level + pause * 100.0) - tokens
        found = bucket.spend(tokens, now=now)
        expected = (
            Verdict.PASS if level > 1e-6 else Verdict.SLOW if level > -50 + 1e-6 else Verdict.DROP if level > -350 + 1e-6 else Verdict.FLOOD
        )
        if min(abs(level), abs(level + 50), abs(level + 350)) > 1e-3:
            assert found is expected
    before = bucket.look(now=now)
    assert bucket.look(now=now - 100.0) is before
    assert bucket.look(now=now) is before  # a clock that steps back gives nothing


@given(st.floats(1.0, 50.0), st.integers(0, 200))
def test_a_device_that_obeys_credit_is_slowed_and_never_dropped(times_over: float, control: int) -> None:
    """It sends as fast as it can, `times_over` its limit, but never beyond its credit; credit is given as intake gives it."""
    limits, now, sent, credit = DeviceLimits(RATES), 0.0, 0, CREDIT_WINDOW
    worst = Verdict.PASS
    for step in range(2000):
        now += 1.0 / (times_over * 100.0)
        if sent < credit or step < control:
            worst = max(worst, limits.arrived(100, now=now))
            sent += step >= control
        if limits.look(now=now) is Verdict.PASS:
            credit = sent + CREDIT_WINDOW
    assert worst <= Verdict.SLOW


@pytest.mark.parametrize("times_over", [1.5, 2.0, 10.0, 1000.0])
def test_a_flooder_is_found_the_sooner_the_worse_it_is(times_over: float) -> None:
    limits, now = DeviceLimits(RATES), 0.0
    while limits.arrived(10, now=now) is not Verdict.FLOOD:
        now += 1.0 / (times_over * 100.0)
        assert now < 60
    owed = 200.0 + AHEAD_MESSAGES + 300.0
    assert now == pytest.approx(owed / (100.0 * (times_over - 1.0)), rel=0.05)
    assert limits.look(now=now + owed / 100.0) is Verdict.PASS


def test_bytes_count_as_messages_do() -> None:
    limits = DeviceLimits(Rates(messages_per_s=1e9, bytes_per_s=1000.0, refused_per_s=10.0, patience_s=1.0))
    assert limits.arrived(2000, now=0.0) is Verdict.PASS
    assert limits.arrived(1 << 20, now=0.0) is Verdict.SLOW
    assert limits.arrived(10 << 20, now=0.0) is Verdict.FLOOD


def test_limits_remember_a_bounded_number_of_devices() -> None:
    limits = Limits(RATES)
    first = limits.of("device-0")
    for number in range(1, 8193):
        limits.of(f"device-{number}")
    assert limits.of("device-0") is not first
    assert limits.of("device-8192") is limits.of("device-8192")


def test_one_device_has_its_share_of_the_queue_and_no_more() -> None:
    letters = Letters(longest=40)
    assert sum(letters.put(Letter("t", b"", ONE, 0.0, 0.0)) for _ in range(100)) == 10
    assert letters.put(Letter("t", b"", TWO, 0.0, 0.0))
    assert [letter.device for letter in letters.take(64)] == [ONE] * 10 + [TWO]
    assert letters.put(Letter("t", b"", ONE, 0.0, 0.0))


def test_a_flood_of_refusals_is_a_few_entries() -> None:
    incidents = Incidents()
    for number in range(10_000):
        incidents.note(f"edge-{number % 3}.region-1", "not_authentic", now=float(number) / 100)
        incidents.note("edge-1.region-1", "unknown_epoch", now=0.0)  # says nothing about who speaks
    found = incidents.due(now=100.0)
    assert [one.count for one in found] == [3334, 3333, 3333]
    for number in range(2 * MOST):
        incidents.note(f"made-up-{number}.region-1", "header", now=101.0)
    later = incidents.due(now=101.0 + AGAIN_S)
    assert len(later) <= MOST + 1
    assert sum(one.count for one in later) == 2 * MOST


class Place:
    """A guard with its files."""

    def __init__(self, folder: Path, **limits: float) -> None:
        self.quarantine, self.audit = Quarantine(folder / "quarantine"), AuditLog(folder / "audit.db")
        settings = LimitSettings(**{"messages_per_s": 10.0, "patience_s": 1.0, "quarantine_s": 60.0, **limits})
        self.guard = Guard(settings, quarantine=self.quarantine, audit=self.audit, region="region-1")

    def acts(self) -> list[tuple[str, str]]:
        return [(entry.action, entry.subject) for entry in reversed(self.audit.entries())]


def test_a_flooder_is_kept_out_at_once_others_are_not_and_its_time_passes(tmp_path: Path) -> None:
    place = Place(tmp_path)
    said = [place.guard.admits(ONE, 10, now=0.0) for _ in range(600)]
    assert said.count("") == 20 + AHEAD_MESSAGES
    assert said[-1] == "quarantined"
    assert place.guard.admits(TWO, 10, now=0.0) == ""
    place.guard.once(now=0.0, at=1000.0)
    assert place.quarantine.read()[ONE].reason == TOO_MUCH
    assert place.quarantine.read()[ONE].until == 1060.0
    place.guard.once(now=59.0, at=1059.0)
    assert place.guard.admits(ONE, 10, now=59.0) == "quarantined"
    place.guard.once(now=60.0, at=1060.0)
    assert place.guard.admits(ONE, 10, now=60.0) == ""
    assert place.acts() == [(QUARANTINED, ONE), (RELEASED, ONE)]
    assert place.audit.verify()[0] == 2


def test_too_many_refusals_are_a_flood_too_and_stand_in_the_audit_log(tmp_path: Path) -> None:
    place = Place(tmp_path, refused_per_s=1.0)
    for _ in range(4200):
        place.guard.refused(ONE, "not_authentic", now=0.0)
    place.guard.once(now=0.0, at=1000.0)
    assert place.quarantine.read()[ONE].reason == TOO_MANY_REFUSED
    assert place.acts() == [(QUARANTINED, ONE), (REFUSED, ONE)]
    assert place.audit.entries()[0].detail == {"reason": "not_authentic", "messages": 4200}


def test_another_process_s_quarantine_holds_here_and_what_cannot_be_read_stays_out(tmp_path: Path) -> None:
    place, other = Place(tmp_path), Place(tmp_path)
    other.quarantine.add(ONE, "elsewhere", now=0.0, until=1e12)
    (tmp_path / "quarantine" / f"{TWO}.json").write_text("{")
    (tmp_path / "quarantine" / "no name.json").write_text("{}")
    place.guard.once(now=0.0, at=1.0)
    assert {name: place.guard.admits(name, 1, now=0.0) for name in (ONE, TWO)} == dict.fromkeys((ONE, TWO), "quarantined")
    assert set(place.quarantine.read()) == {ONE, TWO}
    for name in ("../../x", "edge 1", ""):
        with pytest.raises(InputError, match="no name of a device"):
            place.quarantine.release(name)


def test_a_full_disk_loses_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path)
    place.guard.refused(ONE, "replay", now=0.0)

    def full(*_: object, **__: object) -> None:
        raise ProtocolError("the disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(place.audit, "append", full)
        with pytest.raises(ProtocolError):
            place.guard.once(now=0.0, at=0.0)
    place.guard.once(now=1.0, at=1.0)
    assert place.acts() == [(REFUSED, ONE)]


def test_an_operator_lists_and_releases(tmp_path: Path) -> None:
    (tmp_path / "region.toml").write_text('name = "region-1"\nfleet = "acme"\nstate = "."\n[identity]\nfolder = "a"\nworkers = "b"\n')
    place, config = Place(tmp_path), str(tmp_path / "region.toml")
    place.quarantine.add(ONE, TOO_MUCH, now=0.0, until=2e9)
    run = CliRunner()
    assert f"{ONE}" in run.invoke(app, ["list", "--config", config]).output
    assert run.invoke(app, ["release", ONE, "--config", config, "--json"]).output == f'{{"device": "{ONE}", "released": true}}\n'
    assert "Nobody" in run.invoke(app, ["list", "--config", config]).output
    assert isinstance(run.invoke(app, ["release", ONE, "--config", config]).exception, InputError)
    assert place.acts() == [(RELEASED, ONE)]
    place.guard.once(now=0.0, at=1.0)
    assert place.guard.admits(ONE, 1, now=0.0) == ""


def test_the_guard_costs_microseconds() -> None:
    import time

    place = Guard(LimitSettings(), quarantine=Quarantine(Path("never")), audit=AuditLog(Path("never")), region="r")
    began = time.perf_counter()
    for number in range(20_000):
        place.admits(ONE, 1000, now=number / 1000)
    assert (time.perf_counter() - began) / 20_000 < (50e-6 if LONG_RUN else 500e-6)  # 2 to 4 µs on an idle machine
