"""The story: five acts on one running fleet. `run` reads as the specification; what an act does stands in its own file."""

from __future__ import annotations

import msgspec

from provisioning.testbed import commands
from provisioning.testbed.acts import cascade, ledger, never_lost
from provisioning.testbed.figures import CascadeFigures, LedgerFigures, NeverLostFigures
from provisioning.testbed.footage import Footage
from provisioning.testbed.report import fill
from provisioning.testbed.stage import Stage


class Told(msgspec.Struct, kw_only=True):
    """What the acts that were played have measured."""

    cascade: CascadeFigures | None = None
    never_lost: NeverLostFigures | None = None
    ledger: LedgerFigures | None = None


class Story:
    """Plays the acts.

    Args:
        stage: a prepared fleet, nothing started.
        footage: what it streams, laid out.
        acts: which acts to play, of 1 to 5; the ledger is always kept.
    """

    def __init__(self, stage: Stage, footage: Footage, *, acts: frozenset[int]) -> None:
        self._stage = stage
        self._footage = footage
        self._acts = acts
        self.told = Told()

    def run(self) -> Told:
        """Play; every daemon is stopped when this returns or raises."""
        try:
            self._stage.open()
            self._stage.screen.say(f"below, T={self._stage.fleet.root} (add --keep, and it stays)")
            self._cascade()
            self._never_lost()
        finally:
            self._stage.close()
        self._ledger()
        self._stage.report.seconds_total = self._stage.elapsed()
        return self.told

    def _cascade(self) -> None:
        if cascade.NUMBER not in self._acts:
            return
        screen = self._stage.screen
        screen.act(cascade.NUMBER, cascade.TITLE, cascade.CLAIM)
        self.told.cascade = cascade.play(self._stage, self._footage)
        fill(self._stage.report, self.told.cascade.keys())
        screen.found(self.told.cascade.lines(), commands.cascade())

    def _never_lost(self) -> None:
        if never_lost.NUMBER not in self._acts:
            return
        screen = self._stage.screen
        screen.act(never_lost.NUMBER, never_lost.TITLE, never_lost.CLAIM)
        self.told.never_lost = never_lost.play(self._stage)
        fill(self._stage.report, self.told.never_lost.keys())
        screen.found(self.told.never_lost.lines(), commands.cases(self._stage.fleet.plan, self._stage.fleet.plan.region_names[0]))

    def _ledger(self) -> None:
        screen = self._stage.screen
        screen.act(ledger.NUMBER, ledger.TITLE, ledger.CLAIM)
        self.told.ledger = ledger.play(self._stage.fleet)
        fill(self._stage.report, self.told.ledger.keys())
        screen.found(self.told.ledger.lines(), commands.ledger(self._stage.fleet.plan))
