"""The fleet's figures: what happened between reports, with intervals, in buckets that stay few."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud import fleet as fleets
from cloud import history as histories
from cloud.database import Database
from cloud.fleet import Fleet
from cloud.history import WIDTHS, History
from cloud.timeline import COLUMNS, MOST_POINTS, Tally, happened, interval, merged, points, recent
from shared.errors import InputError
from shared.wire.reports import DeviceSummary, DriftState, FleetReport, ReleaseAudit

NOW = 1_800_000_000.0


def audit(release: int = 1, audited: int = 10, agreed: int = 9, kept: int = 8, kept_wrong: int = 1) -> ReleaseAudit:
    return ReleaseAudit(release=release, audited=audited, agreed=agreed, kept=kept, kept_wrong=kept_wrong)


def device(**more: object) -> DeviceSummary:
    whole = {"name": "edge-1", "seen_at": NOW, "frames": 100, "kept": 80, "deferred": 15, "audited": 5, "bytes_received": 5000}
    return DeviceSummary(**{**whole, "audits": (audit(),), **more})  # type: ignore[arg-type]


def report(*devices: DeviceSummary, alarm: bool = False) -> FleetReport:
    counts = {"cases_stored": 0, "cases_answered": 0, "cases_train": 0, "cases_evaluation": 0}
    return FleetReport(at=NOW, devices=devices, drift=DriftState(alarm=alarm), **counts)


def test_what_happened_is_the_difference() -> None:
    now = device(frames=150, deferred=20, audited=8, bytes_received=9000, audits=(audit(), audit(2, 4, 2, 3, 1)))
    found = happened({"edge-1": device()}, report(now))
    assert (found.frames, found.sent, found.received_bytes) == (50, 8, 4000)
    assert (found.audited, found.agreed, found.kept_wrong) == (4, 2, 1)  # all of the new release, nothing of the old


def test_a_restarted_counter_and_a_new_device() -> None:
    assert happened({"edge-1": device()}, report(device(frames=30))).frames == 30
    assert happened({}, report(device())).frames == 0
    assert happened({"edge-1": device()}, report(device(), alarm=True)).alarms == 1
    fewer = happened({"edge-1": device()}, report(device(audits=(audit(1, 3, 3, 3, 0),))))
    assert (fewer.audited, fewer.agreed) == (3, 3)  # a vault that began anew


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_interval_holds_the_share_and_narrows(hits: int, n: int) -> None:
    hits = min(hits, n)
    low, high = interval(hits, n)
    assert low is not None
    assert high is not None
    assert 0 <= low <= hits / n + 1e-5
    assert hits / n - 1e-5 <= high <= 1
    wide_low, wide_high = interval(hits * 4, n * 4)
    assert (wide_high or 0) - (wide_low or 0) <= high - low + 1e-5
    assert interval(0, 0) == (None, None)


counts = st.integers(0, 1000)
tallies = st.builds(Tally, frames=counts, sent=counts, audited=counts, agreed=counts)


@given(st.lists(st.tuples(st.integers(0, 10_000), tallies), max_size=30), st.sampled_from([10, 60, 1800]))
def test_merging_loses_nothing(buckets: list[tuple[int, Tally]], width: int) -> None:
    found = merged([(float(at), tally) for at, tally in buckets], width)
    assert sum((tally for _, tally in found), Tally()) == sum((tally for _, tally in buckets), Tally())
    assert [at for at, _ in found] == sorted({at // width * width for at, _ in buckets})


def test_a_point_looks_back_until_it_has_seen_enough() -> None:
    thin = [(float(i * 10), Tally(frames=50, audited=20, agreed=20 if i < 20 else 0)) for i in range(40)]
    found = {point[0]: dict(zip(COLUMNS, point, strict=True)) for point in points(thin)}
    assert found[0.0]["audited"] == 20
    assert found[190.0]["accuracy"] == 1.0
    assert found[200.0]["accuracy"] == 0.9  # 200 samples, 20 of them wrong
    assert found[390.0]["accuracy"] == 0.0
    assert recent(thin).audited == 200


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[tuple[Fleet, History, Database]]:
    database = Database(tmp_path / "r.db", [fleets.SCHEMA])
    database.start()
    yield Fleet(database), History(database), database
    database.stop()


def test_reports_become_charts_by_region_and_of_the_fleet(stored: tuple[Fleet, History, Database]) -> None:
    fleet, history, _ = stored
    for second in range(0, 60, 2):
        grown = device(frames=100 + 10 * second, audits=(audit(1, 10 + second, 9 + second, 8 + second, 1),))
        for region in ("region-1", "region-2"):
            fleet.report(region, report(grown), now=NOW + second)
    found = history.read(1.0, now=NOW + 60)
    assert sorted(found["series"]) == ["", "region-1", "region-2"]
    frames = COLUMNS.index("frames")
    assert sum(point[frames] for point in found["series"]["region-1"]) == 580
    assert sum(point[frames] for point in found["series"][""]) == 1160
    now = history.recent(now=NOW + 60)
    assert now[""]["audited"] == 116
    assert now[""]["accuracy"] == 1.0
    assert 8 < now["region-1"]["frames_per_s"] < 11
    with pytest.raises(InputError):
        history.read(2000, now=NOW)


def test_rows_and_points_stay_few(stored: tuple[Fleet, History, Database]) -> None:
    _, history, database = stored
    day = 86_400
    with database.transaction() as connection:
        for at in range(0, 70 * day, 600):
            histories.add(connection, "region-1", Tally(frames=1), now=NOW + at)
    rows = {row["width"]: row["n"] for row in database.rows("SELECT width, count(*) AS n FROM history GROUP BY width")}
    assert rows == {10: 12, 120: 288, 1800: 2880}
    assert all(rows[width] <= kept for width, kept in WIDTHS.items())
    for hours in (0.25, 1, 24, 720, 1440):
        assert len(history.read(hours, now=NOW + 70 * day)["series"][""]) <= MOST_POINTS + 2


def test_a_tally_is_numbers_that_add_up() -> None:
    one = Tally(**dict.fromkeys(Tally.__struct_fields__, 1))
    assert set(msgspec.structs.astuple(one + one)) == {2}
