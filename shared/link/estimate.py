"""What a link has shown of itself: how long a word and its answer take, and how many bytes a second get through. Pure.

Round trip: smoothed with 1/8 as TCP does (RFC 6298); the first sample counts whole. Rate: bytes confirmed from the last
confirmation before a message's sending to its own, divided by that time (the delivery rate of BBR, Cardwell et al., ACM Queue 2016);
the highest of the last ten seconds of samples counts, since a sample taken while little was sent says only what the link carries at
least. Who sends nothing for a while keeps the last estimate.

Example:
    >>> estimate = LinkEstimate()
    >>> estimate.add(50_000, 0.5, 1.0)
    >>> estimate.rate_bytes_per_s, estimate.round_trip_s
    (100000.0, 0.5)
"""

from __future__ import annotations

from collections import deque

RATE_WINDOW_S = 10.0
_GAIN = 0.125
_SHORTEST_S = 1e-4
"""Times below are the clock's and the batch's, not the link's."""


class LinkEstimate:
    """The estimate of one link; 0.0 stands for unknown."""

    def __init__(self) -> None:
        self.round_trip_s = 0.0
        self._best: deque[tuple[float, float]] = deque()

    @property
    def rate_bytes_per_s(self) -> float:
        """Bytes a second that the link has lately carried, 0.0 while nothing was confirmed yet."""
        return self._best[0][1] if self._best else 0.0

    def add(self, bytes_acknowledged: int, elapsed_s: float, now: float, *, round_trip_s: float | None = None) -> None:
        """Take a confirmation of something that was sent once.

        Args:
            bytes_acknowledged: what was confirmed since it was sent, itself included.
            elapsed_s: since the last confirmation before it was sent, or since its sending where nothing else was on the way.
            now: monotonic seconds.
            round_trip_s: from its last byte to its confirmation; `elapsed_s` where it is not given.
        """
        sample = elapsed_s if round_trip_s is None else round_trip_s
        self.round_trip_s = sample if self.round_trip_s == 0.0 else (1 - _GAIN) * self.round_trip_s + _GAIN * sample
        rate = bytes_acknowledged / max(elapsed_s, _SHORTEST_S)
        while self._best and self._best[-1][1] <= rate:  # the deque falls: its first is the highest of the window
            self._best.pop()
        self._best.append((now, rate))
        while now - self._best[0][0] > RATE_WINDOW_S:
            self._best.popleft()
