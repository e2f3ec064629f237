"""report.json and the summary in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from provisioning.testbed.plan import SMALL_FLEET_NOTE


class Report(msgspec.Struct, kw_only=True):
    """The keys of report.json: accuracies, shares and drops are fractions, times in the unit of their name.

    All measured while streaming steadily before the round, unless the name says otherwise.
    """

    edge_only_accuracy: float = 0.0
    expert_accuracy: float = 0.0
    system_accuracy: float = 0.0
    system_minus_expert: float = 0.0
    deferred_share: float = 0.0
    audit_share: float = 0.0
    uplink_bytes_per_frame: float = 0.0
    all_frames_same_codec_bytes_per_frame: float = 0.0
    answer_latency_ms_p50: float = 0.0
    answer_latency_ms_p99: float = 0.0
    cases_spooled: int = 0
    cases_stored: int = 0
    cases_answered: int = 0
    cases_lost: int = 0
    cases_doubled: int = 0
    int8_accuracy_drop: float = 0.0
    int8_speedup: float = 0.0
    release_bytes_full: int = 0
    release_bytes_delta: int = 0
    rounds: int = 0
    devices_committed: int = 0
    devices: int = 0
    drops_beyond_steady_rate_in_swap: float = 0.0
    pictures_left_region: int = 0
    seconds_to_first_prediction: float = 0.0
    seconds_total: float = 0.0
    peak_memory_mb: float = 0.0
    frames: int = 0
    cases_waiting: int = 0
    cases_evicted: int = 0
    released_student: int = 0


class StoryReport(Report, kw_only=True):
    """The keys of the story: those of the loop and of its acts; null where the act was not played.

    Keys that end in `_points` are percentage points; `_low` is the lower end of the 95 % interval over units, in points.
    """

    units: int | None = None
    edge_accuracy_gain_points: float | None = None
    edge_accuracy_gain_low: float | None = None
    h264_bytes_per_frame: float | None = None
    frames_answered_in_cut: int | None = None
    spool_peak_cases: int | None = None
    spool_drained_s: float | None = None
    kills: int | None = None
    drift_drop_points: float | None = None
    drift_drop_expert_points: float | None = None
    drift_recovered_share: float | None = None
    drift_alarm_s: float | None = None
    transfer_to_b_points: float | None = None
    transfer_to_b_low: float | None = None
    clean_forgetting_points: float | None = None
    release_share_of_full: float | None = None
    bad_release_exposed_share: float | None = None
    bad_release_taken_back_s: float | None = None
    bad_release_worse_points: float | None = None
    frames_total: int | None = None
    labels_by: str = ""


def story_summary(report: StoryReport, *, data: str) -> list[str]:
    """Say in a few lines what the acts came to; an act that was not played has none."""
    lines = [f"data: {data}; {report.devices} devices; labels where people would give them: {report.labels_by or 'none were needed'}"]
    if report.edge_accuracy_gain_points is not None:
        gain, low = report.edge_accuracy_gain_points, report.edge_accuracy_gain_low
        lines.append(f"the cascade won {gain:+.1f} points over the device alone (at least {low:+.1f}), sending {report.deferred_share:.1%}")
    if report.kills is not None:
        lines.append(f"{report.kills} kills and a cut link: {report.cases_lost} cases lost, {report.cases_doubled} doubled")
    if report.transfer_to_b_points is not None:
        lines.append(f"B won {report.transfer_to_b_points:+.1f} points from what A saw (at least {report.transfer_to_b_low:+.1f})")
    if report.bad_release_exposed_share is not None:
        back, share = report.bad_release_taken_back_s, report.bad_release_exposed_share
        lines.append(f"the bad release reached {share:.0%} of the devices and was off them after {back:.0f} s")
    lines.append(f"pictures that left a region: {report.pictures_left_region}")
    lines.append(f"all in {report.seconds_total:.0f} s, {report.peak_memory_mb:,.0f} MB of memory at most")
    return [*lines, SMALL_FLEET_NOTE]


def fill(report: Report, keys: Mapping[str, float | str]) -> None:
    """Write an act's keys into a report.

    Raises:
        AttributeError: the report has no such key.
    """
    for key, value in keys.items():
        setattr(report, key, value)


def summary(report: Report, *, data: str) -> list[str]:
    """Say in numbers what happened, one line each."""
    saved = 1 - report.uplink_bytes_per_frame / max(1e-9, report.all_frames_same_codec_bytes_per_frame)
    release = f"release {report.released_student}: {report.release_bytes_full:,} bytes, as a delta {report.release_bytes_delta:,}"
    return [
        f"{report.frames:,} frames of {data} in the steady window (a frame is one inspection window, a board is one unit)",
        (
            f"accuracy: edge alone {report.edge_only_accuracy:.1%}, with the region {report.system_accuracy:.1%}, "
            f"expert on every frame {report.expert_accuracy:.1%}"
        ),
        (
            f"sent to the region: {report.deferred_share:.1%} hard cases and {report.audit_share:.1%} audit samples; "
            f"{report.uplink_bytes_per_frame:,.0f} bytes per frame, {saved:.0%} less than sending every frame"
        ),
        f"the region's answer after {report.answer_latency_ms_p50:.0f} ms (median), {report.answer_latency_ms_p99:.0f} ms (99 %)",
        (
            f"cases: {report.cases_spooled} spooled, {report.cases_stored} stored, {report.cases_waiting} still waiting on devices, "
            f"{report.cases_lost} lost, {report.cases_doubled} doubled"
        ),
        (
            f"federated rounds: {report.rounds}; {release}; running on {report.devices_committed} of {report.devices} devices, "
            f"{report.drops_beyond_steady_rate_in_swap:.0f} frames dropped beyond the usual rate in the swap"
        ),
        f"INT8 student: {report.int8_speedup:.2f} times as fast as FP32, accuracy {-report.int8_accuracy_drop:+.3f}",
        f"pictures that left a region: {report.pictures_left_region}",
        (
            f"first prediction after {report.seconds_to_first_prediction:.1f} s, all in {report.seconds_total:.0f} s, "
            f"{report.peak_memory_mb:,.0f} MB of memory at most"
        ),
        SMALL_FLEET_NOTE,
    ]
