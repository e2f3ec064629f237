"""The story: five acts on one running fleet. `run` reads as the specification; what an act does stands in its own file."""

from __future__ import annotations

from typing import Protocol

from provisioning.testbed import commands
from provisioning.testbed.acts import bad_release, cascade, federation, ledger, never_lost
from provisioning.testbed.doors import links
from provisioning.testbed.figures import Figures
from provisioning.testbed.footage import Footage
from provisioning.testbed.report import fill
from provisioning.testbed.stage import Stage


class Act(Protocol):
    """A file of `acts/`."""

    NUMBER: int
    TITLE: str
    CLAIM: str

    def play(self, stage: Stage, footage: Footage, /) -> Figures:
        """Do it to the running fleet, and return what was measured meanwhile."""


ACTS: tuple[Act, ...] = (cascade, never_lost, federation, bad_release, ledger)


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
        self._acts = acts | {ledger.NUMBER}
        self.told: dict[int, Figures] = {}

    def run(self) -> dict[int, Figures]:
        """Play; every daemon is stopped when this returns or raises. Returns what each act measured, by its number."""
        try:
            self._stage.open()
            self._invite()
            self._play(cascade)
            self._play(never_lost)
            self._play(federation)
            self._play(bad_release)
        finally:
            self._stage.close()
        self._play(ledger)
        self._stage.report.seconds_total = self._stage.elapsed()
        return self.told

    def _invite(self) -> None:
        screen = self._stage.screen
        screen.say(f"in the commands below, T={self._stage.fleet.root} (it stays with --keep)")
        for name, link in links(self._stage.fleet).items():
            screen.say(f"{name}: {link}")
        screen.say("each link makes its first admin, once; the browser warns, as the certificate is the demo's own")

    def _play(self, act: Act) -> None:
        if act.NUMBER not in self._acts:
            return
        screen = self._stage.screen
        screen.act(act.NUMBER, act.TITLE, act.CLAIM)
        figures = self.told[act.NUMBER] = act.play(self._stage, self._footage)
        fill(self._stage.report, figures.keys())
        screen.found(figures.lines(), commands.of(act.NUMBER, self._stage.fleet.plan))
