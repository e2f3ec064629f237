"""Live risks of several devices together: never narrower than allowed, what is not told is not zero, and what goes to the cloud."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from region import livefamilies, liverisk, summary
from region.fleet import Fleet
from shared.deferral.anytime import ALPHA, interval
from shared.deferral.pooled import Counts, pooled
from shared.wire.messages import LiveWord, Telemetry
from shared.wire.reports import LARGEST_REPORT_BYTES, DeviceLive, FleetReport, RegionLive, decode_report, encode_report

from .test_reports import OLD_FLEET

WORD = LiveWord(risk=0.02, low=0.0, high=1.0, audited=200, is_censored=False, missing=3, pending=1, debt=0.01, drift="steady")


def telemetry(word: LiveWord | None, *, audit_share: float = 0.05) -> Telemetry:
    return Telemetry(
        at=1.0, floor=0, release=1, update_state="", streams=(), spool_cases=0, spool_bytes=0, audit_share=audit_share, live=word
    )


def heard(word: LiveWord | None, *, at: float = 100.0) -> DeviceLive | None:
    return liverisk.of_device(telemetry(word), told_at=at)


counted = st.builds(
    lambda audited, wrong, owed, gone: Counts(audited=audited, wrong=min(wrong, audited), owed=min(owed, wrong, audited), missing=gone),
    st.integers(0, 500), st.integers(0, 500), st.integers(0, 500), st.integers(0, 50),
)  # fmt: skip


@given(st.dictionaries(st.text(min_size=1, max_size=4), counted, max_size=6))
def test_counts_add_up_and_the_worst_has_its_share_of_the_union_bound(devices: dict[str, Counts]) -> None:
    found = pooled(devices)
    total = found.counts
    assert total.audited == sum(one.audited for one in devices.values())
    assert (found.low, found.high) == interval(ones=total.wrong, n=total.audited, missing=total.missing)
    if found.worst is None:
        assert not any(one.audited for one in devices.values())
        return
    worst = devices[found.worst.name]
    alone = worst.interval()
    assert found.worst.low <= alone[0]
    assert found.worst.high >= alone[1]
    assert all(alone[0] >= one.interval()[0] for one in devices.values() if one.audited)


def test_the_pooled_interval_misses_at_most_as_often_as_it_may_over_all_looks_together() -> None:
    """Five devices of different risk that come in any order, looked at after every sample; one starts its stretch anew on the way."""
    random = np.random.default_rng(5)
    risks = np.array([0.0, 0.01, 0.02, 0.05, 0.2])
    misses = 0
    for _ in range(200):
        which = random.integers(0, 5, 300)
        errs = random.random(300) < risks[which]
        fresh = int(np.argmax(np.cumsum(errs) >= 3))  # a stretch that began by what was seen
        counts = (which != 4) | (np.arange(300) > fresh)
        n, ones, mean = np.cumsum(counts), np.cumsum(errs & counts), np.cumsum(risks[which] * counts)
        looks = [(int(a), int(b), float(c)) for a, b, c in zip(n, ones, mean, strict=True) if a]
        misses += any(not low - 1e-9 <= c / a <= high + 1e-9 for a, b, c in looks[::3] for low, high in [interval(ones=b, n=a)])
    assert misses / 200 <= ALPHA


def test_the_interval_is_the_region_s_own_and_not_the_device_s_word() -> None:
    live = heard(msgspec.structs.replace(WORD, low=0.0199, high=0.0201))
    assert live is not None
    assert (live.low, live.high) == tuple(round(end, 6) for end in interval(ones=4, n=200, missing=3))
    assert (live.wrong, live.owed, live.missing, live.audit_share) == (4, 2, 3, 0.05)


@pytest.mark.parametrize(
    "word",
    [
        None,
        msgspec.structs.replace(WORD, missing=-1),
        msgspec.structs.replace(WORD, risk=math.nan),
        msgspec.structs.replace(WORD, risk=1.5),
        msgspec.structs.replace(WORD, audited=-4),
        msgspec.structs.replace(WORD, budget_use=math.inf),
        msgspec.structs.replace(WORD, missing=2**60),
    ],
)
def test_what_cannot_be_is_not_told_rather_than_zero(word: LiveWord | None) -> None:
    assert heard(word) is None
    region = liverisk.of_region({"a": heard(word), "b": heard(WORD)}, connected={"a", "b"}, now=101.0)
    assert (region.devices, region.untold, region.audited) == (1, 1, 200)


def test_what_was_told_long_ago_leaves_the_figure_and_a_region_of_old_agents_says_so() -> None:
    region = liverisk.of_region({"a": heard(WORD), "b": heard(WORD, at=10.0)}, connected={"a"}, now=110.0)
    assert (region.devices, region.untold, region.audited) == (1, 0, 200)
    nothing = liverisk.of_region({"a": None}, connected={"a"}, now=110.0)
    assert (nothing.devices, nothing.untold, nothing.low, nothing.high, nothing.worst) == (0, 1, 0.0, 1.0, "")


def test_the_region_s_report_carries_both_and_the_report_of_an_old_region_tells_nothing() -> None:
    fleet = Fleet()
    fleet.heard("edge-1.region-1", now=99.0)
    fleet.telemetry("edge-1.region-1", telemetry(msgspec.structs.replace(WORD, threshold=1.5, epsilon=0.02)))
    entries = fleet.summary(now=100.0)
    lives = fleet.lives()
    for name, entry in entries.items():
        entry["live"] = msgspec.to_builtins(lives[name])
    whole = liverisk.of_region(lives, connected=set(lives), now=100.0)
    status = {"name": "region-1", "devices": entries, "live": msgspec.to_builtins(whole)}
    report = decode_report(encode_report(summary.compose({}, status, now=100.0)))
    assert isinstance(report, FleetReport)
    assert report.live == whole
    assert (whole.following, whole.threshold_low, whole.worst) == (1, 1.5, "edge-1.region-1")
    assert report.devices[0].live == lives["edge-1.region-1"]
    old = decode_report(OLD_FLEET)
    assert isinstance(old, FleetReport)
    assert old.live is None
    assert old.devices[0].live is None


def test_the_largest_region_s_report_still_fits() -> None:
    live = DeviceLive(
        at=1763811111.123456, audited=8192, low=0.012345, high=0.123456, wrong=1234, owed=1234, missing=8192, pending=8192,
        threshold=1.234567, epsilon=0.123456, audit_share=0.123456, budget_bytes_per_s=12345.678901, budget_use=0.1234,
        held_back=123456789, drift="learning",
    )  # fmt: skip
    audits = [{"release": 12, "audited": 123456, "agreed": 123456, "kept": 123456, "kept_wrong": 12345}] * 2
    said = {
        "release": 12, "update_state": "committed", "latency_ms_p50": 12.345678912345,
        "compared": {"release": 12, "compared": 12345, "lost": 1234, "won": 1234},
        "streams": [{"frames": 1234567890, "kept": 1234567890, "deferred": 123456789, "audited": 12345678, "dropped": 1234567}],
    }  # fmt: skip
    entry = {
        "heard_at": 1763811111.123456,
        "telemetry": said,
        "bytes_received": 10**12,
        "audits": audits,
        "live": msgspec.to_builtins(live),
    }
    low = {**entry, "live": {**entry["live"], "low": 0.0}}
    devices = {f"edge-{n:05}.region-1": low if n % 2 else entry for n in range(10_000)}
    report = summary.compose({}, {"name": "region-1", "devices": devices}, now=1763811111.123456)
    assert len(encode_report(report)) < LARGEST_REPORT_BYTES
    assert [device.live is not None for device in report.devices[:4]] == [True, False, True, False], "those that lie highest for sure"


class _Families(Collector):
    def __init__(self, status: dict[str, object]) -> None:
        self._status = status

    def collect(self) -> object:  # type: ignore[override]
        return livefamilies.families(self._status)


def test_prometheus_reads_it_back_and_what_is_not_told_is_absent() -> None:
    from prometheus_client import generate_latest

    def page(status: dict[str, object]) -> dict[tuple[str, str], float]:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families(status))
        text = generate_latest(registry).decode()
        return {
            (sample.name.removeprefix("terrace_region_"), sample.labels.get("device", "")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    lives = {"edge-1.region-1": heard(WORD), "edge-2.region-1": None}
    region = liverisk.of_region(lives, connected=set(lives), now=101.0)
    found = page(
        {"live": msgspec.to_builtins(region), "devices": {name: {"live": msgspec.to_builtins(one)} for name, one in lives.items()}}
    )
    assert found["live_risk", ""] == pytest.approx(0.02)
    assert found["live_devices_untold", ""] == 1
    assert found["device_live_risk", "edge-1.region-1"] == pytest.approx(0.02)
    assert ("device_live_risk", "edge-2.region-1") not in found
    assert ("audit_share_low", "") in found
    assert page({"live": msgspec.to_builtins(RegionLive(untold=2)), "devices": {}}) == {
        ("live_devices", ""): 0,
        ("live_devices_untold", ""): 2,
    }
    assert page({}) == {}
