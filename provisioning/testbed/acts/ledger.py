"""Act 5: the ledger. Everything is stopped; what is claimed is counted again from files alone, by commands anyone can type."""

from __future__ import annotations

from provisioning.testbed import ledger as arithmetic
from provisioning.testbed.figures import LedgerFigures
from provisioning.testbed.fleet import Fleet
from provisioning.testbed.footage import Footage
from provisioning.testbed.recount import recount
from provisioning.testbed.stage import Stage

NUMBER, TITLE = 5, "Ledger"
CLAIM = "Everything is stopped and counted again from the files alone."


def play(stage: Stage, _: Footage) -> LedgerFigures:
    """Count the stopped fleet."""
    fleet = stage.fleet
    counted = recount(fleet)
    frames = sum(_answered(fleet, device) for device in fleet.plan.devices)
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
    )


def _answered(fleet: Fleet, device: str) -> int:
    path = fleet.events(device)
    return len(arithmetic.join(arithmetic.parse_events(path.read_bytes()))) if path.exists() else 0
