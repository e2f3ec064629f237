"""What an intake worker process has to tell the daemon, gathered between two words.

Its intake finds the desk where the daemon's own finds fleet and expert: the same calls, passed on. Everything here is bounded: by the
number of devices, and for jobs by what the expert could use anyway.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from region.batcher import Job
from region.figures import Figures
from region.workernews import MOST_JOBS, MOST_REPORTS, Difference, News
from shared.wire.messages import Telemetry, UpdateReport


class NewsDesk:
    """Gathers; for any thread.

    Args:
        figures: the process's own counts.
    """

    def __init__(self, figures: Figures) -> None:
        self.waiting = threading.Event()
        self._difference = Difference(figures)
        self._lock = threading.Lock()
        self._heard: dict[str, tuple[float, int]] = {}
        self._telemetry: dict[str, Telemetry] = {}
        self._reports: list[tuple[str, UpdateReport]] = []
        self._epochs: list[tuple[str, int]] = []
        self._jobs: list[Job] = []
        self._said_bytes = 0

    def heard(self, device: str, *, now: float, size: int = 0) -> None:
        """As `Fleet.heard`."""
        with self._lock:
            self._heard[device] = now, self._heard.get(device, (0.0, 0))[1] + size

    def telemetry(self, device: str, message: Telemetry) -> None:
        """As `Fleet.telemetry`."""
        with self._lock:
            self._telemetry[device] = message

    def report(self, device: str, message: UpdateReport) -> None:
        """As `Fleet.report`; devices say their reports again from time to time."""
        with self._lock:
            self._reports = [*self._reports[-MOST_REPORTS + 1 :], (device, message)]

    def submit(self, jobs: Iterable[Job]) -> None:
        """As `ExpertWorker.submit`; what is too much for one word is answered from the vault."""
        with self._lock:
            self._jobs += list(jobs)[: MOST_JOBS - len(self._jobs)]
        self.waiting.set()

    def opened(self, device: str, epoch_id: int) -> None:
        """Note that a device opened an epoch: the daemon speaks to it under that one from now on."""
        with self._lock:
            self._epochs.append((device, epoch_id))
        self.waiting.set()

    def take(self, *, held_bytes: int, is_storing: bool) -> News:
        """Return what there is to tell since the last call.

        Args:
            held_bytes: what this process has stored since its start.
            is_storing: whether its last commit succeeded.
        """
        self.waiting.clear()
        with self._lock:
            counted, dropped = self._difference.take()
            news = News(
                counted=counted, dropped=dropped, heard=self._heard, telemetry=self._telemetry, reports=tuple(self._reports),
                epochs=tuple(self._epochs), jobs=tuple(self._jobs), stored_bytes=held_bytes - self._said_bytes, is_storing=is_storing,
            )  # fmt: skip
            self._heard, self._telemetry, self._reports, self._epochs, self._jobs = {}, {}, [], [], []
            self._said_bytes = held_bytes
            return news
