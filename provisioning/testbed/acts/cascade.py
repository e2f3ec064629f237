"""Act 1: the cascade beats the device alone, for a fraction of the bytes.

The edge-only lane is the device's own first answer to every frame: the event file holds it beside the final one, so both lanes see
the same frames. Intervals are over units (boards). The expert's lane is run afterwards, beside the fleet, on the same pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from provisioning.testbed import ledger, offline
from provisioning.testbed.figures import CascadeFigures
from provisioning.testbed.footage import Footage
from provisioning.testbed.intervals import difference, estimate
from provisioning.testbed.notes import Notes
from provisioning.testbed.stage import Stage

NUMBER, TITLE = 1, "Cascade"
WINDOW = "cascade"
CLAIM = "The device answers most frames itself and asks its region about the rest: better than alone, for a fraction of the bytes."


def play(stage: Stage, footage: Footage) -> CascadeFigures:
    """Stream steadily, then measure the very frames that went by."""
    plan = stage.fleet.plan
    stage.screen.say(f"streaming for {plan.steady_s:.0f} s: one lane is the device alone, the other the whole system")
    window = stage.stream(plan.steady_s, until=lambda: stage.answered() >= plan.minimum_cases, what="answers")
    notes = footage.remember(WINDOW, window)
    stage.pause(plan.after_swap_s)
    return stage.beside(measure, notes, what="the measurement of the cascade")


def measure(notes: Notes) -> CascadeFigures:
    """Measure the remembered window from event files and labelled streams alone."""
    window, models = notes.windows[WINDOW], Path(notes.models)
    clean = {name: Path(path) for name, path in notes.clean.items()}
    frames: dict[ledger.FrameKey, ledger.FrameRecord] = {}
    for path in notes.events:
        frames.update(ledger.within(ledger.join(ledger.parse_events(Path(path).read_bytes())), window.start, window.end))
    lanes = _lanes(frames, clean, models)
    shares, latencies = ledger.shares(frames), ledger.answer_latencies(frames)
    return CascadeFigures(
        edge=estimate(lanes.edge, lanes.units),
        system=estimate(lanes.system, lanes.units),
        gain=difference(lanes.system, lanes.edge, lanes.units),
        expert=estimate(lanes.expert, lanes.units),
        deferred=shares.deferred,
        audited=shares.audited,
        sent_bytes=window.bytes_sent / max(1, window.frames),
        same_codec_bytes=offline.mean_bytes(models, list(clean.values())),
        h264_bytes=offline.h264_bytes(list(clean.values()), {name: Path(path) for name, path in notes.videos.items()}),
        latency_ms_p50=ledger.quantile(latencies, 0.5),
        latency_ms_p99=ledger.quantile(latencies, 0.99),
    )


def _lanes(frames: Mapping[ledger.FrameKey, ledger.FrameRecord], clean: Mapping[str, Path], models: Path) -> ledger.Lanes:
    truth = {name: offline.truth(path) for name, path in clean.items()}
    return ledger.lanes(
        frames,
        truth={name: one.labels for name, one in truth.items()},
        units={name: one.units for name, one in truth.items()},
        expert={name: offline.expert_right(models, path) for name, path in clean.items()},
    )
