"""Once around the loop: frames, hard cases, a round, a release, a swap; then a stop and a recount from the files.

The steps in `run` read as the specification. What is counted while the daemons run comes from their status sockets; what
is counted after the stop comes from their files alone.
"""

from __future__ import annotations

from provisioning.testbed.notes import Window
from provisioning.testbed.recount import recount
from provisioning.testbed.report import Report
from provisioning.testbed.rounds import release_round
from provisioning.testbed.stage import Stage
from provisioning.testbed.swaps import swap


class Loop:
    """Drive a prepared fleet once around.

    Args:
        stage: a prepared fleet, nothing started; its report is filled.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._report = stage.report
        self.window = Window(start=0, end=0, bytes_sent=0, frames=0)

    def run(self) -> Report:
        """Go once around; every daemon is stopped when this returns or raises."""
        try:
            self._stage.open()
            self.window = self._stream_steadily()
            self._round()
            swap(self._stage, after=1)
            self._stage.pause(self._stage.fleet.plan.after_swap_s)
        finally:
            self._stage.close()
        self._recount()
        self._report.seconds_total = self._stage.elapsed()
        return self._report

    def _recount(self) -> None:
        counted, report = recount(self._stage.fleet), self._report
        total = counted.cases
        report.cases_spooled, report.cases_stored, report.cases_answered = total.spooled, total.stored, counted.answered
        report.cases_waiting, report.cases_evicted, report.cases_lost = total.waiting, total.evicted, total.lost
        report.cases_doubled, report.pictures_left_region = counted.doubled, counted.pictures

    def _stream_steadily(self) -> Window:
        plan = self._stage.fleet.plan
        self._stage.screen.step(f"Streaming steadily for {plan.steady_s:.0f} s: most frames are answered on the device")
        return self._stage.stream(plan.steady_s, until=self._enough_cases, what="enough cases for a round")

    def _enough_cases(self) -> bool:
        return self._stage.answered() >= 2 * self._stage.fleet.plan.minimum_cases

    def _round(self) -> None:
        number = self._stage.fleet.start_round()
        words = f"Round {number}: regions train on their cases; the cloud aggregates, distils, quantises, gates and signs"
        self._stage.screen.step(words)
        release_round(self._stage, number)
        self._report.rounds += 1
