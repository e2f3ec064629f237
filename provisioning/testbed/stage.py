"""The stage: the running fleet, its pace and the screen. What loop and acts share; what they tell stands in their own files.

Every wait has a deadline and looks at each daemon: one that has ended stops the demo with its last words.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from provisioning.testbed import timeline
from provisioning.testbed.beside import Work
from provisioning.testbed.fleet import Fleet
from provisioning.testbed.interrupt import held_back
from provisioning.testbed.notes import Window
from provisioning.testbed.processes import DaemonFailedError, memory_mb
from provisioning.testbed.report import Report
from provisioning.testbed.screen import Screen
from shared.errors import StorageError, TerraceError

Result = TypeVar("Result")
POLL_S = 0.25
BESIDE_S = 120.0
SMALL_DISK_BYTES = 1 << 20
FIRST_PREDICTION_S, FIRST_ANSWERS_S = 180.0, 180.0


class Stage:
    """A prepared fleet and how to wait on it.

    Args:
        fleet: certificates and configuration written, nothing started.
        screen: where the story is told.
        began: monotonic seconds at which the demo's clocks started.
        report: is written to.
    """

    def __init__(self, fleet: Fleet, screen: Screen, *, began: float, report: Report) -> None:
        self.fleet = fleet
        self.screen = screen
        self.report = report
        self.moments: list[timeline.Moment] = []
        self.marks: list[timeline.Mark] = []
        self.kills = 0
        self._began = began
        self._last_memory = 0.0

    @property
    def devices(self) -> list[str]:
        """Common names of all devices."""
        return self.fleet.plan.devices

    def open(self) -> None:
        """Start everything and wait until frames are answered on every device and by its region."""
        self.begin()
        self.screen.step("Hard cases travel sealed to the region; its expert answers")
        self.until(lambda: all(self.answers(device) for device in self.devices), FIRST_ANSWERS_S, "an answer at every device")
        self.pause(self.fleet.plan.warm_s)

    def begin(self) -> None:
        """Start everything and wait until a first frame is answered on a device."""
        self.screen.step("Starting one cloud, its regions and their devices as processes of their own, with mutual TLS")
        for process in self.fleet.processes:
            process.start()
        self.screen.step("Devices fetch and verify their first signed release; then frames flow")
        self.until(lambda: any(path.stat().st_size for path in self._event_files()), FIRST_PREDICTION_S, "a first prediction")
        self.report.seconds_to_first_prediction = self.elapsed()
        self.screen.say(f"first prediction after {self.report.seconds_to_first_prediction:.1f} s")

    def close(self) -> None:
        """Stop everything, devices first; Ctrl-C meanwhile takes effect once all are down."""
        with held_back():
            self.screen.step("Stopping everything, then counting again from the files alone")
            for process in reversed(self.fleet.processes):
                if not process.stop():
                    self.screen.say(f"{process.name} had to be killed")

    def mark(self, what: str) -> None:
        """Remember that something happened now, for the plots."""
        self.marks.append(timeline.Mark(at=time.time(), what=what))

    def elapsed(self) -> float:
        """Return seconds since the demo began."""
        return time.monotonic() - self._began

    def stream(self, seconds: float, *, until: Callable[[], bool] = lambda: True, what: str = "") -> Window:
        """Let frames flow for some seconds, and on until a condition holds; return the span."""
        start, bytes_before, frames_before = time.time(), *self._sent()
        self.pause(seconds)
        self.until(until, 120, what)
        end, bytes_after, frames_after = time.time(), *self._sent()
        return Window(start=start, end=end, bytes_sent=bytes_after - bytes_before, frames=frames_after - frames_before)

    def pause(self, seconds: float) -> None:
        """Watch the fleet for some seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.tick()

    def until(self, condition: Callable[[], object], deadline_s: float, what: str) -> None:
        """Watch the fleet until a condition holds.

        Raises:
            DaemonFailedError: it did not within the deadline, or a daemon ended.
            StorageError: the disk is full.
        """
        deadline = time.monotonic() + deadline_s
        while not condition():
            if time.monotonic() > deadline:
                raise self._too_late(f"waited {deadline_s:.0f} s for {what}")
            self.tick()

    def tick(self) -> None:
        """Look at every daemon once: alive, counters, memory; then wait for the rest of the interval."""
        began = time.monotonic()
        for process in self.fleet.processes:
            process.check()
        statuses = self.fleet.statuses()
        self.moments.append(timeline.moment(time.time(), statuses))
        if began - self._last_memory > 1.0:
            self._last_memory = began
            pids = [process.pid for process in self.fleet.processes]
            self.report.peak_memory_mb = max(self.report.peak_memory_mb, memory_mb(pids))
        self.screen.fleet(statuses)
        time.sleep(max(0.0, POLL_S - (time.monotonic() - began)))  # the pace at which the fleet is looked at

    def beside(self, function: Callable[..., Result], *arguments: object, what: str) -> Result:
        """Run a function in a niced process of its own, and go on watching the fleet meanwhile.

        Args:
            function: of a module's top level.
            arguments: what it takes; pickled.
            what: it does, for the message when it takes too long.
        """
        work = Work(function, *arguments)
        work.start()
        try:
            self.until(work.is_over, BESIDE_S, what)
            return work.result()
        finally:
            work.stop()

    def answers(self, device: str) -> int:
        """Return how many answers a device has received."""
        return int(self.fleet.status(device).get("link", {}).get("answers", 0))

    def committed(self, device: str) -> int:
        """Return the release a device has committed, 0 while it has none or is changing it."""
        update = self.fleet.status(device).get("update", {})
        return int(update.get("release", 0)) if update.get("state") == "committed" else 0

    def answered(self) -> int:
        """Return how many cases the regions have answered."""
        return sum(int(self.fleet.status(region).get("cases_answered", 0)) for region in self.fleet.plan.region_names)

    def device(self, name: str) -> timeline.Device:
        """Return a device's counters as of the last look at which it answered: a busy machine may leave a look without one."""
        return next((one.devices[name] for one in reversed(self.moments) if name in one.devices), timeline.Device())

    def region(self, name: str) -> timeline.Region:
        """Return a region's counters as of the last look at which it answered."""
        return next((one.regions[name] for one in reversed(self.moments) if name in one.regions), timeline.Region())

    def _event_files(self) -> list[Path]:
        return [path for device in self.devices if (path := self.fleet.events(device)).exists()]

    def _sent(self) -> tuple[int, int]:
        statuses = [self.fleet.status(device) for device in self.devices]
        sent = sum(int(status.get("link", {}).get("bytes_sent", 0)) for status in statuses)
        return sent, sum(timeline.device(status).inferred for status in statuses)

    def _too_late(self, waited: str) -> TerraceError:
        """Return why waiting was in vain: mostly a full disk, else what the logs say."""
        if shutil.disk_usage(self.fleet.root).free < SMALL_DISK_BYTES:
            return StorageError(f"{waited}; the disk of {self.fleet.root} is full.", "Free space there, or set TMPDIR to a larger disk.")
        return DaemonFailedError(f"{waited}.", f"Look into the logs in {self.fleet.root / 'logs'}.")
