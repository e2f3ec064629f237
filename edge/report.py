"""What the device says of itself: its status for people and the testbed, its telemetry for the region. Reads counters, changes none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from edge.config import EdgeSettings
from edge.counters import SwapRecord
from shared import clock
from shared.deferral.steadiness import ALARM
from shared.wire.messages import ComparedWord, LiveWord, StreamCounts, Telemetry

if TYPE_CHECKING:  # it reads their counters and makes none of them
    from edge.handover import HandOver
    from edge.inference import Inference
    from edge.liveaudits import LiveAudits
    from edge.model import ModelSlot
    from edge.newest import NewestFrames
    from edge.outputs import EventFile
    from edge.settling import Settler
    from edge.sources.stream import StreamThread
    from edge.spending import Spending
    from edge.spooling import CaseWriter
    from shared.clock import Clock
    from shared.link.spool import Spool


class Tells(Protocol):
    """A part that has a status of its own: the uplink, the updater, the governor, an output."""

    def status(self) -> dict[str, Any]:
        """Return it."""


class Reporter:
    """Puts the parts' counters together.

    Args:
        settings: the device's configuration.
        streams: its streams' threads.
        frames: the newest-frame slots.
        models: the model in use.
        inference: what answers frames.
        settler: the events' state.
        hand_over: frames on their way to the spool.
        writer: the spool's writer.
        events: the event file.
        spool: the spool.
        link: the uplink.
        audits: the live risk.
        spending: the byte budget.
        wall: tells Unix seconds.
    """

    def __init__(
        self,
        *,
        settings: EdgeSettings,
        streams: Sequence[StreamThread],
        frames: NewestFrames,
        models: ModelSlot,
        inference: Inference,
        settler: Settler,
        hand_over: HandOver,
        writer: CaseWriter,
        events: EventFile,
        spool: Spool,
        link: Tells,
        audits: LiveAudits,
        spending: Spending,
        wall: Clock,
    ) -> None:
        self._settings = settings
        self._streams = streams
        self._frames = frames
        self._models = models
        self._inference = inference
        self._settler = settler
        self._hand_over = hand_over
        self._writer = writer
        self._events = events
        self._spool = spool
        self._link = link
        self._audits = audits
        self._spending = spending
        self._wall = wall
        self.updater: Tells | None = None
        self.preview: Tells | None = None
        self.outlets: Mapping[str, Tells] = {}
        self.governor: Tells | None = None
        self.keeper: Tells | None = None
        self.why_no_updates = ""

    def status(self) -> dict[str, Any]:
        """Return the whole status, of things JSON can hold."""
        model = self._models.current()
        release = model.card.release if model else 0
        nothing: dict[str, Any] = {"state": "none", "release": release, "reason": self.why_no_updates, "committed": []}
        return {
            "name": self._settings.device,
            "release": release,
            "model": {"engine": model.engine.name if model else "", "waiting_for_first": model is None, "reason": self._inference.reason},
            "update": self.updater.status() if self.updater else nothing,
            "audit_share": self._inference.audit_share,
            "live": self._live(),
            "live_state": self.keeper.status() if self.keeper else {},
            "budget": self._spending.status(clock.monotonic()),
            "streams": {stream.name: self._stream(stream) for stream in self._streams},
            "drops": self._frames.reasons(),
            "converted_share": round(self._frames.converted_share, 3),
            "link": self._link.status(),
            "spool": self._spool_status(),
            "events": {"written": self._events.written, "lost": self._events.lost, "failing": self._events.failing},
            "outputs": {name: outlet.status() for name, outlet in self.outlets.items()},
            "preview": self.preview.status() if self.preview else {},
            "answers": {
                "waiting": self._settler.waiting(),
                "answered": self._settler.answered,
                "inherited": self._settler.inherited,
                "expired": self._settler.expired,
                "unawaited": self._settler.unawaited(),
                "unreadable": self._settler.unreadable,
            },
            "latency_ms": {
                "answer_p50": self._settler.answer_latency.percentile_ms(0.5),
                "answer_p99": self._settler.answer_latency.percentile_ms(0.99),
                "inference_p50": self._inference.latency.percentile_ms(0.5),
            },
            "governor": self.governor.status() if self.governor else {"on": False},
            "swaps": [_swap(record) for record in self._inference.swaps],
        }

    def telemetry(self) -> Telemetry:
        """Return what goes to the region every few seconds; what spool and link know better, the uplink fills in."""
        model = self._models.current()
        update: Mapping[str, Any] = self.updater.status() if self.updater else {}
        return Telemetry(
            at=self._wall(),
            floor=0,
            release=model.card.release if model else 0,
            update_state=str(update.get("state", "none")),
            streams=tuple(self._counts(stream) for stream in self._streams),
            spool_cases=0,
            spool_bytes=0,
            latency_ms_p50=self._inference.latency.percentile_ms(0.5),
            audit_share=self._inference.audit_share,
            audits_lost=self._hand_over.dropped_audit + self._writer.failed + self._writer.refused + self._spending.audits_refused,
            live=self._live_word(),
            compared=ComparedWord(**compared) if (compared := update.get("compared")) and compared["compared"] else None,
        )

    def _live(self) -> dict[str, Any]:
        state = self._audits.state(clock.monotonic())
        told = {name: round(value, 6) if isinstance(value, float) else value for name, value in msgspec.structs.asdict(state).items()}
        return {**told, "alarm": state.drift == ALARM}

    def _live_word(self) -> LiveWord:
        now = clock.monotonic()
        state, spending = self._audits.state(now), self._spending.status(now)
        return LiveWord(
            risk=state.risk,
            low=state.low,
            high=state.high,
            audited=state.audited,
            is_censored=state.is_censored,
            threshold=state.threshold,
            epsilon=state.epsilon,
            debt=state.debt,
            drift=state.drift,
            budget_use=spending["use"],
            held_back=spending["held_back"],
            missing=state.missing,
            pending=state.pending,
            budget_bytes_per_s=spending["rate"],
        )

    def _counts(self, stream: StreamThread) -> StreamCounts:
        counters = self._inference.counters[stream.name]
        return StreamCounts(
            stream=stream.name,
            frames=stream.state.frames,
            dropped=self._frames.dropped(stream.name),
            kept=counters.kept,
            deferred=counters.deferred,
            audited=counters.audited,
            last_frame=counters.last,
        )

    def _stream(self, stream: StreamThread) -> dict[str, Any]:
        counts: dict[str, Any] = msgspec.structs.asdict(self._counts(stream))
        counts.pop("stream")
        counters = self._inference.counters[stream.name]
        state = stream.state
        return {
            **counts,
            "failed": counters.failed,
            "inherited": counters.inherited,
            "corrupt": state.corrupt,
            "state": state.state,
            "reason": state.reason,
            "still": state.still,
            "thinned": state.thinned,
            "connections": state.connections,
            "first_frame_s": round(state.first_frame_s, 3),
            "picture": f"{state.width}x{state.height}" if state.width else "",
            "frozen_s": round(state.frozen_s, 1),
            "silent_s": round(state.silent_s(clock.monotonic()), 1),
        }

    def _spool_status(self) -> dict[str, Any]:
        cases, size = self._spool.occupancy()
        state = self._spool.state()
        return {
            "cases": cases,
            "bytes": size,
            "evicted": self._spool.evicted(),
            "spooled": self._writer.spooled,
            "handing_over": len(self._hand_over),
            "dropped_before_spool": self._hand_over.dropped_hard + self._hand_over.dropped_audit,
            "not_spooled": self._writer.failed + self._writer.refused,
            "spool_in_memory": bool(state.alarm),
            "alarm": state.alarm,
            "memory_cases": state.memory_cases,
            "memory_bytes": state.memory_bytes,
            "disk_bytes": state.disk_bytes,
            "bytes_stored": state.bytes_stored,
            "flash_bytes": state.bytes_written,
            "flash_bytes_per_stored_byte": round(state.bytes_written / state.bytes_stored, 3) if state.bytes_stored else 0.0,
        }


def _swap(record: SwapRecord) -> dict[str, Any]:
    return {
        "at": record.at,
        "from": record.from_release,
        "to": record.to_release,
        "gap_ms": record.gap_ms,
        "dropped_during": record.dropped_during,
    }
