"""What each act measured: its keys of report.json and its lines on the screen. Pure; lines fit 78 columns."""

from __future__ import annotations

from typing import Protocol

import msgspec

from provisioning.testbed.intervals import Estimate
from provisioning.testbed.learned import Learned

Keys = dict[str, float | int]


class Figures(Protocol):
    """What an act measured."""

    def keys(self) -> Keys:
        """Return the act's keys of report.json."""

    def lines(self) -> list[str]:
        """Say it, a line each."""


class CascadeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Act 1: the same frames answered by the device alone, by the system, and by the expert alone; bytes are per frame."""

    edge: Estimate
    system: Estimate
    gain: Estimate
    expert: Estimate
    deferred: float
    audited: float
    sent_bytes: float
    same_codec_bytes: float
    h264_bytes: float
    latency_ms_p50: float
    latency_ms_p99: float

    def keys(self) -> Keys:
        """Return the act's keys of report.json."""
        return {
            "frames": self.edge.frames,
            "units": self.edge.units,
            "edge_only_accuracy": self.edge.value,
            "system_accuracy": self.system.value,
            "expert_accuracy": self.expert.value,
            "system_minus_expert": self.system.value - self.expert.value,
            "edge_accuracy_gain_points": 100 * self.gain.value,
            "edge_accuracy_gain_low": 100 * self.gain.low,
            "deferred_share": self.deferred,
            "audit_share": self.audited,
            "uplink_bytes_per_frame": self.sent_bytes,
            "all_frames_same_codec_bytes_per_frame": self.same_codec_bytes,
            "h264_bytes_per_frame": self.h264_bytes,
            "answer_latency_ms_p50": self.latency_ms_p50,
            "answer_latency_ms_p99": self.latency_ms_p99,
        }

    def lines(self) -> list[str]:
        """Say it."""
        return [
            f"edge only            {self.edge.words()}   95 % over {self.edge.units} units",
            f"with the region      {self.system.words()}   same {self.edge.frames:,} frames",
            f"expert on each frame {self.expert.words()}",
            f"won by the cascade   {self.gain.words(sign=True)}",
            f"sent: {self.deferred:.1%} hard cases, {self.audited:.1%} audit samples",
            f"bytes per frame: {self.sent_bytes:,.0f} sent, all frames {self.same_codec_bytes:,.0f}, as H.264 {self.h264_bytes:,.0f}",
            f"the region's answer after {self.latency_ms_p50:.0f} ms (median), {self.latency_ms_p99:.0f} ms (99 %)",
        ]


class NeverLostFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Act 2: frames answered locally while the link was cut, the spool's height, kills, and what a recount found."""

    answered_in_cut: int
    cut_s: float
    spool_before: int
    spool_peak: int
    drained_s: float
    kills: int
    spooled: int
    lost: int
    doubled: int

    def keys(self) -> Keys:
        """Return the act's keys of report.json."""
        return {
            "frames_answered_in_cut": self.answered_in_cut,
            "spool_peak_cases": self.spool_peak,
            "spool_drained_s": self.drained_s,
            "kills": self.kills,
            "cases_lost": self.lost,
            "cases_doubled": self.doubled,
        }

    def lines(self) -> list[str]:
        """Say it."""
        return [
            f"{self.cut_s:.0f} s without a link: {self.answered_in_cut} frames answered on the devices all the same",
            f"cases waiting: {self.spool_before} before, {self.spool_peak} at most, drained {self.drained_s:.0f} s after the link was back",
            f"killed with -9: {self.kills} processes",
            f"recounted from the files: {self.spooled} cases spooled so far, {self.lost} lost, {self.doubled} doubled",
        ]


def recovered(found: Learned) -> float:
    """Return the share of what the drift cost that the release won back."""
    lost = found.before_clean.value - found.before_drifted.value
    return (found.after_drifted.value - found.before_drifted.value) / max(1e-9, lost)


def learned_lines(found: Learned) -> list[str]:
    """Say what was learnt, on the same pictures."""
    return [
        f"before the drift      {found.before_clean.words()}   expert {found.expert_clean.value:.1%}",
        f"under the drift       {found.before_drifted.words()}   expert {found.expert_drifted.value:.1%}",
        f"with A's round        {found.after_drifted.words()}   {recovered(found):.0%} won back",
        f"B, its own control    {found.b_control.words()}   before: {found.b_before.value:.1%}",
        f"B, with A's round     {found.b_after.words()}",
        f"what B gained from A  {found.transfer.words(sign=True)}   without a picture of A",
        f"forgotten of before   {found.forgotten.words(sign=True)}",
    ]


class FederationFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Act 3: what the drift cost, what the round won back, and what region B gained from cases it never saw."""

    learned: Learned
    round: int
    alarm_s: float
    delta_bytes: int
    full_bytes: int

    def keys(self) -> Keys:
        """Return the act's keys of report.json."""
        found = self.learned
        return {
            "drift_alarm_s": self.alarm_s,
            "drift_drop_points": 100 * (found.before_clean.value - found.before_drifted.value),
            "drift_drop_expert_points": 100 * (found.expert_clean.value - found.expert_drifted.value),
            "drift_recovered_share": recovered(found),
            "transfer_to_b_points": 100 * found.transfer.value,
            "transfer_to_b_low": 100 * found.transfer.low,
            "clean_forgetting_points": 100 * found.forgotten.value,
            "release_bytes_full": self.full_bytes,
            "release_bytes_delta": self.delta_bytes,
            "release_share_of_full": self.delta_bytes / max(1, self.full_bytes),
        }

    def lines(self) -> list[str]:
        """Say it."""
        release = f"the release went out as {self.delta_bytes:,} of {self.full_bytes:,} bytes"
        return [*learned_lines(self.learned), f"alarm after {self.alarm_s:.0f} s; {release}"]


class BadReleaseFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Act 4: how far the bad release came and for how long; `worse` is what it lost on the same pictures."""

    exposed: int
    devices: int
    running_s: float
    taken_back_s: float
    worse: Estimate
    reason: str

    def keys(self) -> Keys:
        """Return the act's keys of report.json."""
        return {
            "bad_release_exposed_share": self.exposed / max(1, self.devices),
            "bad_release_taken_back_s": self.taken_back_s,
            "bad_release_worse_points": 100 * self.worse.value,
        }

    def lines(self) -> list[str]:
        """Say it."""
        return [
            f"worse by {self.worse.words()} on the same pictures",
            f"reached {self.exposed} of {self.devices} devices and ran there for {self.running_s:.0f} s",
            f"off every device {self.taken_back_s:.0f} s after its gate failed, by itself",
            f"the cloud says: {self.reason}",
        ]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the ledger: a value, and the command that counts it again."""

    what: str
    command: str


class LedgerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Act 5: the stopped fleet counted again from its files alone; `entries` hold what the other acts claimed, too."""

    frames: int
    spooled: int
    stored: int
    waiting: int
    evicted: int
    lost: int
    doubled: int
    answered: int
    pictures: int
    entries: tuple[Entry, ...] = ()

    def keys(self) -> Keys:
        """Return the act's keys of report.json."""
        return {
            "frames_total": self.frames,
            "cases_spooled": self.spooled,
            "cases_stored": self.stored,
            "cases_answered": self.answered,
            "cases_waiting": self.waiting,
            "cases_evicted": self.evicted,
            "cases_lost": self.lost,
            "cases_doubled": self.doubled,
            "pictures_left_region": self.pictures,
        }

    def lines(self) -> list[str]:
        """Say it, each line with its command below it."""
        return [line for entry in self.entries for line in (entry.what, f"$ {entry.command}")]
