"""The live risk as the cloud shows it, per region, per device, all together: what is not told is None; and what is worth an alert."""

from __future__ import annotations

from cloud.alerts import alerts_of
from cloud.overview import devices_of, live_of, regions_of
from cloud.records import Region
from shared.deferral.anytime import interval
from shared.wire.reports import DeviceLive, DeviceSummary, FleetReport, RegionLive

NOW = 1000.0


def region(name: str, live: RegionLive | None, *, seen_at: float = NOW) -> Region:
    report = FleetReport(at=seen_at, cases_stored=0, cases_answered=0, cases_train=0, cases_evaluation=0, live=live)
    return Region(name=name, node=1, seen_at=seen_at, report=report, cases_learned=0)


def told(*, audited: int, wrong: int, missing: int = 0) -> RegionLive:
    low, high = interval(ones=wrong, n=audited, missing=missing)
    return RegionLive(devices=2, audited=audited, wrong=wrong, missing=missing, low=low, high=high)


def test_an_old_region_is_not_told_and_one_that_is_away_is_not_in_the_fleet_s_figure() -> None:
    regions = [
        region("new", told(audited=400, wrong=8, missing=4)),
        region("other", told(audited=100, wrong=4)),
        region("old", None),
        region("gone", told(audited=900, wrong=900), seen_at=NOW - 60.0),
    ]
    shown = regions_of(regions, [], NOW)
    assert shown["old"]["live"] is None
    assert shown["new"]["live"]["risk"] == 0.02
    assert shown["new"]["live"]["censored_share"] == round(4 / 404, 6)
    assert shown["gone"]["live"]["risk"] == 1.0, "with the time it was seen, so that the page says its age"
    fleet = live_of(regions, NOW)
    assert (fleet["regions"], fleet["untold_regions"], fleet["risk"]) == (2, 1, 12 / 500)
    assert (fleet["low"], fleet["high"]) == tuple(round(end, 6) for end in interval(ones=12, n=500, missing=4))


def test_nothing_counted_is_no_risk_of_zero() -> None:
    shown = regions_of([region("fresh", RegionLive(devices=1))], [], NOW)["fresh"]["live"]
    assert (shown["risk"], shown["low"], shown["high"], shown["censored_share"]) == (None, 0.0, 1.0, None)
    assert live_of([region("old", None)], NOW)["risk"] is None


def test_a_device_carries_counts_and_the_time_they_were_told() -> None:
    live = DeviceLive(at=990.4, audited=200, wrong=4, owed=2, low=0.005, high=0.05, threshold=1.5, drift="steady")
    devices = [("r", DeviceSummary(name="a", seen_at=NOW, live=live)), ("r", DeviceSummary(name="b", seen_at=NOW))]
    shown = devices_of([region("r", None)], devices, NOW)
    assert shown["r/b"]["live"] is None
    assert (shown["r/a"]["live"]["at"], shown["r/a"]["live"]["risk"], shown["r/a"]["live"]["debt"]) == (990.0, 0.02, 0.01)
    assert shown["r/a"]["live"]["epsilon"] is None


def test_alerts_tell_a_risk_that_is_too_high_for_sure_a_drift_and_a_censored_estimate() -> None:
    def causes(live: DeviceLive) -> list[str]:
        found = alerts_of(
            regions=[region("r", None)],
            devices=[("r", DeviceSummary(name="a.r", seen_at=NOW, connected=True, live=live))],
            rollouts=[],
            rounds=[],
            certificates={},
            now=NOW,
        )
        return sorted(alert.id for alert in found)

    fine = DeviceLive(at=NOW, audited=500, wrong=5, low=0.002, high=0.03, epsilon=0.02, drift="steady")
    assert causes(fine) == []
    bad = DeviceLive(at=NOW, audited=500, wrong=50, missing=20, low=0.06, high=0.2, epsilon=0.02, drift="alarm")
    assert causes(bad) == ["device-drift/a.r", "live-censored/a.r", "live-risk/a.r"]
