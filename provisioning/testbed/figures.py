"""What each act measured: its keys of report.json and its lines on the screen. Pure; lines fit 78 columns."""

from __future__ import annotations

import msgspec

from provisioning.testbed.intervals import Estimate

Keys = dict[str, float | int]


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


class LedgerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Act 5: the stopped fleet counted again from its files alone."""

    frames: int
    spooled: int
    stored: int
    waiting: int
    evicted: int
    lost: int
    doubled: int
    answered: int
    pictures: int

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
        """Say it."""
        return [
            f"{self.frames:,} frames answered; {self.spooled} cases spooled, {self.stored} stored, {self.answered} answered",
            f"{self.waiting} still waiting on devices, {self.evicted} evicted, {self.lost} lost, {self.doubled} doubled",
            f"pictures that left a region: {self.pictures}",
        ]
