"""How long a case would wait for the expert, and whether its answer could still be in time. Pure.

The wait is counted in batches, each as long as nine out of ten recent ones were (a mean would not follow slow phases): the batch
that runs now, those before the case, and its own.

Example:
    >>> times = BatchTimes()
    >>> times.add(0.01)
    >>> times.wait_s(ahead=32, largest=16)
    0.04
"""

from __future__ import annotations

from collections import deque

WINDOW = 64
QUANTILE = 0.9


class BatchTimes:
    """The durations of recent batches, in seconds."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._typical = 0.0

    def add(self, seconds: float) -> None:
        """Note how long a batch took."""
        self._recent.append(seconds)
        ordered = sorted(self._recent)
        self._typical = ordered[int(QUANTILE * (len(ordered) - 1))]  # one slow batch among few is no slow phase

    @property
    def typical_s(self) -> float:
        """Seconds nine out of ten recent batches stayed below; 0 before the first."""
        return self._typical

    def wait_s(self, *, ahead: int, largest: int) -> float:
        """Return when a case would be answered, in seconds from now.

        Args:
            ahead: cases that are answered before it.
            largest: cases in a batch at most.
        """
        return (ahead // largest + 2) * self._typical
