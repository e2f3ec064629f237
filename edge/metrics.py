"""What a device tells Prometheus: every figure of its status that is worth an alarm or a curve. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared import exposition
from shared.exposition import Figure

FIGURES = (
    Figure(name="release", help="Release of the model in use, 0 before the first.", path=("release",)),
    Figure(name="frames_total", help="Frames read, by stream.", path=("streams", "*", "frames"), label="stream"),
    Figure(name="frames_dropped_total", help="Frames replaced by newer ones, by stream.", path=("streams", "*", "dropped"), label="stream"),
    Figure(name="frames_kept_total", help="Frames answered here alone.", path=("streams", "*", "kept"), label="stream"),
    Figure(name="frames_deferred_total", help="Frames sent as hard cases.", path=("streams", "*", "deferred"), label="stream"),
    Figure(name="frames_audited_total", help="Frames sent as audit samples.", path=("streams", "*", "audited"), label="stream"),
    Figure(name="frames_failed_total", help="Frames inference failed on.", path=("streams", "*", "failed"), label="stream"),
    Figure(name="frames_still_total", help="Frames on which nothing moved.", path=("streams", "*", "still"), label="stream"),
    Figure(name="frames_corrupt_total", help="Frames that were damaged.", path=("streams", "*", "corrupt"), label="stream"),
    Figure(name="stream_connections_total", help="Times a source was opened.", path=("streams", "*", "connections"), label="stream"),
    Figure(name="stream_frozen_s", help="Seconds a live picture has been the same.", path=("streams", "*", "frozen_s"), label="stream"),
    Figure(name="live_risk", help="Share of audit samples kept on which student and expert differ.", path=("live", "risk")),
    Figure(name="live_risk_low", help="Lower end of its interval.", path=("live", "low")),
    Figure(name="live_risk_high", help="Upper end of its interval.", path=("live", "high")),
    Figure(name="live_audited", help="Answered audit samples behind it.", path=("live", "audited")),
    Figure(name="live_missing", help="Audit samples without an answer.", path=("live", "missing")),
    Figure(name="live_censored", help="1 while too many audit samples have no answer.", path=("live", "is_censored")),
    Figure(name="live_threshold", help="Threshold that holds.", path=("live", "threshold")),
    Figure(name="risk_debt", help="Part of the live risk that the byte budget caused.", path=("live", "debt")),
    Figure(name="audit_share", help="Share of frames drawn for audit.", path=("audit_share",)),
    Figure(name="budget_use", help="Share of the last hard frames that the byte budget let through.", path=("budget", "use")),
    Figure(name="budget_held_back_total", help="Hard frames the byte budget kept.", path=("budget", "held_back")),
    Figure(name="budget_audits_refused_total", help="Audit samples without bytes.", path=("budget", "audits_refused")),
    Figure(name="events_total", help="Events written.", path=("events", "written")),
    Figure(name="events_lost_total", help="Events that could not be written.", path=("events", "lost")),
    Figure(name="output_delivered_total", help="Events delivered, by output.", path=("outputs", "*", "delivered"), label="output"),
    Figure(name="output_lost_total", help="Events lost, by output.", path=("outputs", "*", "lost"), label="output"),
    Figure(name="output_waiting", help="Events waiting, by output.", path=("outputs", "*", "waiting"), label="output"),
    Figure(name="output_failures_total", help="Attempts that failed, by output.", path=("outputs", "*", "failures"), label="output"),
    Figure(name="inference_ms_p50", help="Milliseconds of inference, median.", path=("latency_ms", "inference_p50")),
    Figure(name="answer_ms_p50", help="Milliseconds from frame to the region's answer, median.", path=("latency_ms", "answer_p50")),
    Figure(name="answer_ms_p99", help="The same, 99th percentile.", path=("latency_ms", "answer_p99")),
    Figure(name="link_connected", help="1 while a key epoch is open over a connection.", path=("link", "connected")),
    Figure(name="link_broker_connected", help="1 while the broker holds the connection.", path=("link", "broker_connected")),
    Figure(name="link_connections_total", help="Connections made.", path=("link", "connections")),
    Figure(name="link_epoch_age_s", help="Age of the key epoch.", path=("link", "epoch", "age_s")),
    Figure(name="link_epoch_seals", help="Messages sealed in the key epoch.", path=("link", "epoch", "seals")),
    Figure(name="link_heard_s_ago", help="Seconds since the region's last word.", path=("link", "heard_s_ago")),
    Figure(name="link_round_trip_ms", help="Milliseconds from sending to the receipt.", path=("link", "round_trip_ms")),
    Figure(name="link_rate_bytes_per_s", help="Estimated rate, 0 while unknown.", path=("link", "rate_bytes_per_s")),
    Figure(name="link_credit_left", help="Messages that may still carry cases.", path=("link", "credit_left")),
    Figure(name="link_in_flight", help="Cases sent without a receipt.", path=("link", "in_flight")),
    Figure(name="link_bytes_sent_total", help="MQTT payload bytes of all kinds.", path=("link", "bytes_sent")),
    Figure(name="link_cases_sent_total", help="Cases sent, each counted once.", path=("link", "cases_sent")),
    Figure(name="link_receipts_total", help="Cases the region has stored.", path=("link", "receipts")),
    Figure(name="link_answers_total", help="Answers that came.", path=("link", "answers")),
    Figure(name="link_answers_late_total", help="Answers that were late.", path=("link", "answers_late")),
    Figure(name="link_answers_absent_total", help="Answers given up.", path=("link", "answers_absent")),
    Figure(name="answers_unreadable_total", help="Answers that made no sense.", path=("answers", "unreadable")),
    Figure(name="link_timeouts_total", help="Cases sent again for want of a receipt.", path=("link", "timeouts")),
    Figure(name="link_dropped_total", help="Messages dropped, by reason.", path=("link", "dropped"), label="reason"),
    Figure(name="spool_cases", help="Cases waiting.", path=("spool", "cases")),
    Figure(name="spool_bytes", help="Bytes of waiting cases.", path=("spool", "bytes")),
    Figure(name="spool_spooled_total", help="Cases made durable since the start.", path=("spool", "spooled")),
    Figure(name="spool_evicted_total", help="Cases that gave way to others.", path=("spool", "evicted")),
    Figure(name="spool_dropped_before_total", help="Cases dropped before the spool.", path=("spool", "dropped_before_spool")),
    Figure(name="spool_not_spooled_total", help="Cases the disk did not take.", path=("spool", "not_spooled")),
    Figure(name="spool_in_memory", help="1 while the disk is of no use and cases wait in memory.", path=("spool", "spool_in_memory")),
    Figure(name="spool_flash_bytes_total", help="Bytes written to the disk for cases.", path=("spool", "flash_bytes")),
    Figure(name="spool_stored_bytes_total", help="Bytes of cases made durable.", path=("spool", "bytes_stored")),
    Figure(name="governor_on", help="1 while heat, memory and lag are watched.", path=("governor", "on")),
    Figure(name="governor_step", help="Step down taken, 0 for none.", path=("governor", "step")),
    Figure(name="governor_rate", help="Share of the frames that may be answered.", path=("governor", "rate")),
    Figure(name="governor_headroom_c", help="Degrees Celsius below the nearest limit.", path=("governor", "headroom_c")),
    Figure(name="governor_lag", help="Share of frames replaced before an answer.", path=("governor", "lag")),
    Figure(name="governor_lowered_total", help="Steps taken down.", path=("governor", "lowered")),
    Figure(name="spool_memory_cases", help="Cases that wait in memory alone.", path=("spool", "memory_cases")),
)


def text(status: Mapping[str, Any]) -> str:
    """Return the page of /metrics."""
    return exposition.text("edge", FIGURES, status)
