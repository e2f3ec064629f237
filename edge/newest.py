"""The newest frame of every stream: one place per stream, a newer frame replaces the one waiting; what is dropped is counted by reason.

So a slow model means dropped frames, never a growing queue or old answers. Which frames are taken, and which have become too old, is
freshness's; how many are converted at all when there are too many, relief's.
"""

from __future__ import annotations

import threading
from collections import Counter

from edge.freshness import NOTHING_FORESEEN, Foresight, chosen
from edge.relief import Relief, allows
from shared import clock
from shared.vision.frames import Frame

REPLACED, STALE, RELIEVED, GOVERNED = "replaced", "stale", "relieved", "governed"
"""Why a frame is dropped: a newer one came, its time was over, too many arrive, the governor allows fewer."""


class NewestFrames:
    """Where the sources' threads put frames and the inference thread takes them."""

    def __init__(self) -> None:
        self._waiting: dict[str, Frame] = {}
        self._dropped: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._turns: dict[str, int] = {}
        self._put = self._taken = 0
        self._relief = Relief()
        self._ready = threading.Condition()
        self._closed = False

    def put(self, frame: Frame) -> None:
        """Make a frame the newest of its stream; one that still waits is dropped and counted. Never blocks."""
        with self._ready:
            if self._waiting.pop(frame.stream, None) is not None:
                self._drop(frame.stream, REPLACED)
            self._waiting[frame.stream] = frame
            self._put += 1
            self._ready.notify()

    def take(self, limit: int, timeout_s: float, *, foresight: Foresight = NOTHING_FORESEEN) -> list[Frame]:
        """Wait for frames and take those of up to `limit` streams whose turn it is.

        Args:
            limit: the most frames.
            timeout_s: how long to wait for the first.
            foresight: what batches have taken.

        Returns:
            Nothing after the time-out, after close, or when all that waited had become too old.
        """
        with self._ready:
            if not self._waiting and not self._closed:
                self._ready.wait(timeout_s)
            now = clock.monotonic()
            choice = chosen(self._waiting.values(), turns=self._turns, limit=limit, foresight=foresight, now=now)
            for frame in choice.stale:
                del self._waiting[frame.stream]
                self._drop(frame.stream, STALE)
            for frame in choice.taken:
                del self._waiting[frame.stream]
                self._taken += 1
                self._turns[frame.stream] = self._taken
            lost = self._reasons[REPLACED] + self._reasons[STALE]
            self._relief.see(now, put=self._put, taken=self._taken, lost=lost, is_crowded=bool(choice.taken and self._waiting))
            return choice.taken

    def close(self) -> None:
        """Wake whoever waits; nothing is taken any more."""
        with self._ready:
            self._closed = True
            self._waiting.clear()
            self._ready.notify_all()

    def allows(self, stream: str, number: int) -> bool:
        """Tell whether a frame is worth converting; one that is not is counted. Never blocks."""
        if allows(stream, number, self._relief.share):
            return True
        self.skip(stream, RELIEVED)
        return False

    def skip(self, stream: str, reason: str = GOVERNED) -> None:
        """Count a frame of a stream as dropped that was left out on purpose, before it came here. Never blocks."""
        with self._ready:
            self._drop(stream, reason)

    def reasons(self) -> dict[str, int]:
        """Return how many frames were dropped for each reason, over all streams; 0 for those that were none."""
        return {reason: self._reasons[reason] for reason in (REPLACED, STALE, RELIEVED, GOVERNED)}

    def skipped_in_all(self) -> int:
        """Return how many of the dropped frames the governor left out, over all streams."""
        return self._reasons[GOVERNED]

    def dropped(self, stream: str) -> int:
        """Return how many frames of a stream were dropped, for whatever reason."""
        return self._dropped[stream]

    def dropped_in_all(self) -> int:
        """Return how many frames were dropped, over all streams."""
        return self._reasons.total()

    @property
    def converted_share(self) -> float:
        """The share of frames that is converted now; below 1 when more arrive than are answered."""
        return self._relief.share

    def _drop(self, stream: str, reason: str) -> None:
        self._dropped[stream] += 1
        self._reasons[reason] += 1
