"""Counts and latencies of the hot path: plain integers written by one thread and read by any. Pure."""

from __future__ import annotations

from array import array

import msgspec

WINDOW = 2048


class StreamCounters(msgspec.Struct, kw_only=True):
    """What became of the frames of one stream that reached the model; `inherited` counts those of them that inherited an answer."""

    kept: int = 0
    deferred: int = 0
    audited: int = 0
    failed: int = 0
    inherited: int = 0
    last: int = -1
    """Number of the last frame with an answer."""

    @property
    def inferred(self) -> int:
        """Frames with an answer."""
        return self.kept + self.deferred + self.audited


class Served(msgspec.Struct, kw_only=True):
    """How a release has done in service since the process started."""

    frames: int = 0
    failures: int = 0
    deferred: int = 0


class SwapRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One change of release in service.

    `at` is Unix seconds; `gap_ms` is for how long a frame was at hand and no model answered; `dropped_during` counts frames replaced
    between the last answer of the old release and the first of the new one.
    """

    at: float
    from_release: int
    to_release: int
    gap_ms: float
    dropped_during: int


class Latencies:
    """The last WINDOW durations, for percentiles."""

    def __init__(self) -> None:
        self._values = array("d")
        self._place = 0

    def add(self, seconds: float) -> None:
        """Add one duration in seconds."""
        if len(self._values) < WINDOW:
            self._values.append(seconds)
        else:
            self._values[self._place] = seconds
            self._place = (self._place + 1) % WINDOW

    def percentile_ms(self, share: float) -> float:
        """Return the nearest-rank percentile in milliseconds, 0 before the first duration.

        Args:
            share: 0 to 1; 0.5 is the median.
        """
        values = sorted(self._values)
        if not values:
            return 0.0
        return 1000.0 * values[min(len(values) - 1, int(share * len(values)))]
