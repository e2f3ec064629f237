"""`terrace demo --cut-link`: a running fleet whose cable a person pulls. What a pull means stands in cable.py.

The loop reads as the demo: pull what was asked for, look at the fleet, say how it stands. At the end the cable is mended, the spools
drain, everything is stopped, and cases are counted again from the files by commands anyone can type.
"""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

from provisioning.testbed import cable, commands
from provisioning.testbed import plan as plans
from provisioning.testbed.acts.never_lost import kill_broker
from provisioning.testbed.cable import TABLE, Cable, CableFigures, Pull, Tally
from provisioning.testbed.keys import Keys
from provisioning.testbed.preparation import prepare
from provisioning.testbed.recount import recount
from provisioning.testbed.report import Report
from provisioning.testbed.screen import Screen
from provisioning.testbed.stage import Stage

SIGNALS = {Pull.CUT: signal.SIGUSR1, Pull.MEND: signal.SIGUSR2}
SAY_EVERY_S = 2.0
DRAIN_S = 60.0


class Pulling:
    """A demo whose cable is pulled.

    Args:
        root: the state folder.
        plan: sizes and pace; with a wire.
        data: line, deeppcb, fashion-mnist or a folder.
        screen: where it is told.
        cut_s: how long the cable is cut where nobody can press keys.
    """

    def __init__(self, root: Path, plan: plans.Plan, data: str, screen: Screen, *, cut_s: float) -> None:
        self._root = root
        self._plan = plan
        self._data = data
        self._screen = screen
        self._script = list(cable.script(cut_s))
        self._cable, self._tally = Cable.WHOLE, Tally()
        self._figures: CableFigures | None = None
        self._said_at = float("-inf")

    def play(self, _: frozenset[int]) -> None:
        """Prepare, run and count; every daemon is stopped when this returns or raises."""
        began = time.monotonic()
        prepared = prepare(self._root, self._plan, self._data, self._screen, began=began, report=Report())
        stage = prepared.stage
        try:
            stage.open()
            self._pull(stage)
            self._drain(stage)
        finally:
            stage.close()
        self._figures = self._counted(stage)

    def finish(self, _: Path | None, *, keep: bool) -> list[str]:
        """Return what it came to and the commands that count it again; remove the state folder unless it is kept."""
        found = [] if self._figures is None else self._figures.lines()
        region = self._plan.region_names[0]
        typed = [f"$ {command}" for command in commands.of_cases(self._plan, region)]
        if keep:
            return [*found, "count again (T is the state folder):", f"$ T={self._root}", *typed]
        shutil.rmtree(self._root, ignore_errors=True)
        return [*found, "counted by these commands (with --keep, T stays and you can type them):", *typed]

    def _pull(self, stage: Stage) -> None:
        """Do what is asked for until the end is."""
        with Keys() as keys:
            is_pressed = keys.can_press and self._screen.is_live
            self._screen.step(cable.HINT if is_pressed else "Nobody can press keys here: the cable is pulled by a script")
            began = time.monotonic()
            while True:
                asked = self._pressed(keys) if is_pressed else self._scripted(time.monotonic() - began)
                for pull in asked:
                    self._do(stage, pull)
                    if pull is Pull.QUIT:
                        return
                self._look(stage)

    def _pressed(self, keys: Keys) -> list[Pull]:
        return [cable.KEYS[key] for key in keys.pressed() if key in cable.KEYS]

    def _scripted(self, elapsed: float) -> list[Pull]:
        due = [pull for at, pull in self._script if at <= elapsed]
        self._script = self._script[len(due) :]
        return due

    def _do(self, stage: Stage, pull: Pull) -> None:
        after = TABLE.get((self._cable, pull))
        if after is None:
            self._screen.say(f"the link is {self._cable.value} already")
            return
        if pull is Pull.KILL:
            kill_broker(stage, self._plan.region_names[0])
        elif after is not self._cable:
            self._set(stage, Pull.CUT if after is Cable.CUT else Pull.MEND)
        self._cable = after

    def _set(self, stage: Stage, pull: Pull) -> None:
        for wire in stage.fleet.wires.values():
            wire.send(SIGNALS[pull])
        stage.mark(f"link {pull.value}")
        self._tally.pulled(pull, now=time.monotonic())
        does = {Pull.CUT: "the link is cut: watch the spools climb, and frames go on", Pull.MEND: "the link is mended: the spools drain"}
        self._screen.say(does[pull])

    def _look(self, stage: Stage) -> None:
        stage.tick()
        devices = [stage.device(name) for name in stage.devices]
        answered, waiting = sum(device.inferred for device in devices), sum(device.spool for device in devices)
        now = time.monotonic()
        self._tally.see(self._cable, now=now, answered=answered, waiting=waiting, few=len(devices))
        if self._screen.is_live or now - self._said_at >= SAY_EVERY_S:
            self._said_at = now
            self._screen.note(self._tally.words(self._cable))

    def _drain(self, stage: Stage) -> None:
        """Let what waits arrive."""
        deadline = time.monotonic() + DRAIN_S
        while self._tally.waiting > len(stage.devices) and time.monotonic() < deadline:
            self._look(stage)

    def _counted(self, stage: Stage) -> CableFigures:
        counted, tally = recount(stage.fleet), self._tally
        cases = counted.cases
        return CableFigures(
            cuts=tally.cuts,
            cut_s=tally.cut_s,
            answered_in_cut=tally.answered_in_cut,
            peak=tally.peak,
            drained_s=tally.drained_s,
            kills=stage.kills,
            spooled=cases.spooled,
            stored=cases.stored,
            waiting=cases.waiting,
            evicted=cases.evicted,
            lost=cases.lost,
            doubled=counted.doubled,
        )
