"""Act 5: the ledger. Everything is stopped; what is claimed is counted again from files alone, by commands anyone can type."""

from __future__ import annotations

from pathlib import Path

from provisioning.testbed import ledger as arithmetic
from provisioning.testbed.entries import entries
from provisioning.testbed.figures import Entry, LedgerFigures
from provisioning.testbed.footage import Footage
from provisioning.testbed.recount import Counted, recount
from provisioning.testbed.report import StoryReport
from provisioning.testbed.stage import Stage

NUMBER, TITLE = 5, "Ledger"
CLAIM = "Everything is stopped and counted again from the files alone."


def play(stage: Stage, _: Footage) -> LedgerFigures:
    """Count the stopped fleet."""
    fleet = stage.fleet
    counted = recount(fleet)
    frames = sum(answered(fleet.events(device)) for device in fleet.plan.devices)
    total = counted.cases
    return LedgerFigures(
        frames=frames,
        spooled=total.spooled,
        stored=total.stored,
        waiting=total.waiting,
        evicted=total.evicted,
        lost=total.lost,
        doubled=counted.doubled,
        answered=counted.answered,
        pictures=counted.pictures,
        entries=_entries(stage, counted, frames),
    )


def _entries(stage: Stage, counted: Counted, frames: int) -> tuple[Entry, ...]:
    if not isinstance(stage.report, StoryReport):
        return ()
    return entries(stage.report, counted.cases, frames=frames, doubled=counted.doubled, pictures=counted.pictures)


def answered(events: Path) -> int:
    """Return how many frames an event file holds an answer to."""
    return len(arithmetic.join(arithmetic.parse_events(events.read_bytes()))) if events.exists() else 0
