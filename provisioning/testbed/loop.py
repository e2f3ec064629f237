"""Once around the loop: frames, hard cases, a round, a release, a swap; then a stop and a recount from the files.

The steps in `run` read as the specification. What is counted while the daemons run comes from their status sockets; what
is counted after the stop comes from their files alone.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from provisioning.testbed import ledger
from provisioning.testbed.fleet import Fleet
from provisioning.testbed.processes import DaemonFailedError, memory_mb
from provisioning.testbed.report import Report
from provisioning.testbed.screen import Screen
from shared.errors import StorageError, TerraceError

POLL_S = 0.25
SWAP_WINDOW_S = 3.0
SMALL_DISK_BYTES = 1 << 20


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A span of steady streaming: Unix seconds, and payload bytes and frames of all devices in it."""

    start: float
    end: float
    bytes_sent: int
    frames: int


class Loop:
    """Drive a prepared fleet once around.

    Args:
        fleet: certificates and configuration written, nothing started.
        screen: where the story is told.
        began: monotonic seconds at which the demo's clocks started.
    """

    def __init__(self, fleet: Fleet, screen: Screen, *, began: float) -> None:
        self._fleet = fleet
        self._screen = screen
        self._began = began
        self._samples: dict[str, list[ledger.RateSample]] = {device: [] for device in fleet.plan.devices}
        self._last_memory = 0.0
        self.report = Report(devices=len(fleet.plan.devices))
        self.window = Window(start=0, end=0, bytes_sent=0, frames=0)

    def run(self) -> Report:
        """Go once around; every daemon is stopped when this returns or raises."""
        try:
            self._start()
            self._wait_for_first_prediction()
            self._wait_for_answers()
            self.window = self._stream_steadily()
            self._round()
            self._wait_for_swap()
            self._pause(self._fleet.plan.after_swap_s)
        finally:
            self._stop()
        self._recount()
        self.report.seconds_total = time.monotonic() - self._began
        return self.report

    def _start(self) -> None:
        self._screen.step("Starting one cloud, its regions and their devices as processes of their own, with mutual TLS")
        for process in self._fleet.processes:
            process.start()

    def _wait_for_first_prediction(self) -> None:
        self._screen.step("Devices fetch and verify their first signed release; then frames flow")
        self._until(lambda: any(path.stat().st_size for path in self._event_files()), 90, "a first prediction")
        self.report.seconds_to_first_prediction = time.monotonic() - self._began
        self._screen.say(f"first prediction after {self.report.seconds_to_first_prediction:.1f} s")

    def _wait_for_answers(self) -> None:
        self._screen.step("Hard cases travel sealed to the region; its expert answers")
        self._until(lambda: all(self._answers(device) for device in self._fleet.plan.devices), 60, "an answer at every device")
        self._pause(self._fleet.plan.warm_s)

    def _stream_steadily(self) -> Window:
        self._screen.step(f"Streaming steadily for {self._fleet.plan.steady_s:.0f} s: most frames are answered on the device")
        start, bytes_before, frames_before = time.time(), *self._sent()
        self._pause(self._fleet.plan.steady_s)
        self._until(self._enough_cases, 120, "enough cases for a round")
        end, bytes_after, frames_after = time.time(), *self._sent()
        return Window(start=start, end=end, bytes_sent=bytes_after - bytes_before, frames=frames_after - frames_before)

    def _round(self) -> None:
        number = self._fleet.start_round()
        self._screen.step(f"Round {number}: regions train on their cases; the cloud aggregates, distils, quantises, gates and signs")
        seen = ""

        def published() -> bool:
            nonlocal seen
            state = self._round_state(number)
            words = f"{state.get('step', '')} {state.get('reason', '')}".strip()
            if words and words != seen:
                seen = words
                self._screen.say(f"round {number}: {words}")
            if state.get("state") in ("failed", "refused"):
                raise DaemonFailedError(f"round {number} {state['state']}: {state.get('reason', 'no reason given')}")
            return state.get("state") in ("published", "done")

        self._until(published, 150, f"round {number} to be published")
        self.report.rounds += 1

    def _round_state(self, number: int) -> dict[str, Any]:
        rounds = self._fleet.status("cloud").get("rounds", [])
        return next((dict(entry) for entry in rounds if entry.get("number") == number), {})

    def _wait_for_swap(self) -> None:
        self._screen.step("Devices fetch the release, verify it, test it while the old one serves, and swap between two frames")
        before = 1
        self._until(lambda: all(self._committed(device) > before for device in self._fleet.plan.devices), 90, "every device to commit")
        self.report.devices_committed = sum(self._committed(device) > before for device in self._fleet.plan.devices)
        self.report.released_student = max(self._committed(device) for device in self._fleet.plan.devices)
        self._pause(SWAP_WINDOW_S)
        self.report.drops_beyond_steady_rate_in_swap = sum(self._drops_in_swap(device) for device in self._fleet.plan.devices)

    def _drops_in_swap(self, device: str) -> float:
        swaps = self._fleet.status(device).get("swaps", [])
        return sum(
            ledger.drops_beyond_steady_rate(self._samples[device], float(swap["at"]), window_s=SWAP_WINDOW_S)
            for swap in swaps
            if swap.get("from")
        )

    def _stop(self) -> None:
        self._screen.step("Stopping everything, then counting again from the files alone")
        for process in reversed(self._fleet.processes):
            if not process.stop():
                self._screen.say(f"{process.name} had to be killed")

    def _recount(self) -> None:
        report, plan = self.report, self._fleet.plan
        for device in plan.devices:
            spool = self._fleet.recount_spool(device)
            report.cases_spooled += int(spool["cases_spooled"])
            report.cases_waiting += int(spool["cases_waiting"])
            report.cases_evicted += int(spool["cases_evicted"])
        for region in plan.region_names:
            vault = self._fleet.recount_vault(region)
            report.cases_stored += int(vault["cases_stored"])
            report.cases_answered += int(vault["cases_answered"])
            report.cases_doubled += int(vault["cases_doubled"])
            report.pictures_left_region += int(self._fleet.recount_egress(region)["pictures_found"])
        gone = report.cases_spooled - report.cases_waiting - report.cases_evicted
        report.cases_lost = max(0, gone - report.cases_stored)

    def _event_files(self) -> list[Path]:
        return [path for device in self._fleet.plan.devices if (path := self._fleet.events(device)).exists()]

    def _answers(self, device: str) -> int:
        return int(self._fleet.status(device).get("link", {}).get("answers", 0))

    def _committed(self, device: str) -> int:
        update = self._fleet.status(device).get("update", {})
        return int(update.get("release", 0)) if update.get("state") == "committed" else 0

    def _enough_cases(self) -> bool:
        stored = sum(int(self._fleet.status(region).get("cases_answered", 0)) for region in self._fleet.plan.region_names)
        return stored >= 2 * self._fleet.plan.minimum_cases

    def _sent(self) -> tuple[int, int]:
        statuses = [self._fleet.status(device) for device in self._fleet.plan.devices]
        sent = sum(int(status.get("link", {}).get("bytes_sent", 0)) for status in statuses)
        return sent, sum(inferred(status) for status in statuses)

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._tick()

    def _until(self, condition: Callable[[], bool], deadline_s: float, what: str) -> None:
        deadline = time.monotonic() + deadline_s
        while not condition():
            if time.monotonic() > deadline:
                raise self._too_late(f"waited {deadline_s:.0f} s for {what}")
            self._tick()

    def _too_late(self, waited: str) -> TerraceError:
        """Return why waiting was in vain: mostly a full disk, else what the logs say."""
        if shutil.disk_usage(self._fleet.root).free < SMALL_DISK_BYTES:
            return StorageError(f"{waited}; the disk of {self._fleet.root} is full.", "Free space there, or set TMPDIR to a larger disk.")
        return DaemonFailedError(f"{waited}.", f"Look into the logs in {self._fleet.root / 'logs'}.")

    def _tick(self) -> None:
        """Look at every daemon once: alive, counters, memory; then wait for the rest of the interval."""
        began = time.monotonic()
        for process in self._fleet.processes:
            process.check()
        statuses = self._fleet.statuses()
        for device, samples in self._samples.items():
            if streams := statuses[device].get("streams"):
                counts = [(int(stream["frames"]), int(stream["dropped"])) for stream in streams.values()]
                samples.append(ledger.RateSample(at=time.time(), frames=sum(c[0] for c in counts), dropped=sum(c[1] for c in counts)))
        if began - self._last_memory > 1.0:
            self._last_memory = began
            self.report.peak_memory_mb = max(self.report.peak_memory_mb, memory_mb([process.pid for process in self._fleet.processes]))
        self._screen.fleet(statuses)
        time.sleep(max(0.0, POLL_S - (time.monotonic() - began)))


def inferred(status: dict[str, Any]) -> int:
    """Return how many frames a device has answered, from its status."""
    streams = status.get("streams", {}).values()
    return sum(int(stream.get(key, 0)) for stream in streams for key in ("kept", "deferred", "audited"))
