"""Which of the waiting frames are answered next, which have become too old for it, and how many go into one batch. Pure.

A frame's age counts from its arrival (it is decoded, and due) to its answer; the aim is one period of its stream, also on a device with
more streams than it can answer. The newest frame of a stream replaces the one that waits; that alone does not bound the age, since under
load a stream's next frame is itself late.

Rules, in order:
1. A batch is as large as the profile allows, but not so large that its model's own time (the fastest of the last `REMEMBERED` batches, for
   each frame) takes more than `BATCH_SHARE` of a period. What a busy machine adds does not count here: smaller batches would not help it.
2. A frame is stale when its answer is foreseen later than one period after its arrival; a batch is foreseen to take as long as the second
   slowest of those remembered. Where that is more than half a period, a frame is stale when it is itself older than a period: a slow
   model must not starve its stream.
3. Of the others, the streams that were answered longest ago come first: each gets its share, whatever its phase.

Times are seconds, `now` is monotonic.

Example:
    >>> foresight = Foresight()
    >>> foresight.took(4, 0.02)
    >>> foresight.per_frame_s, foresight.batch_s
    (0.005, 0.02)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from typing import NamedTuple

from shared.vision.frames import Frame

BATCH_SHARE = 0.25
REMEMBERED = 16


class Foresight:
    """What the next batch will take, from those before it."""

    def __init__(self) -> None:
        self._each: deque[float] = deque(maxlen=REMEMBERED)
        self._whole: deque[float] = deque(maxlen=REMEMBERED)
        self.per_frame_s = self.batch_s = 0.0

    def took(self, frames: int, seconds: float) -> None:
        """Learn from a batch."""
        self._each.append(seconds / frames)
        self._whole.append(seconds)
        self.per_frame_s, self.batch_s = min(self._each), sorted(self._whole)[-2:][0]


NOTHING_FORESEEN = Foresight()


class Choice(NamedTuple):
    """Frames to answer now, and frames that have become too old for it."""

    taken: list[Frame]
    stale: list[Frame]


def chosen(waiting: Collection[Frame], *, turns: Mapping[str, int], limit: int, foresight: Foresight, now: float) -> Choice:
    """Choose the next batch.

    Args:
        waiting: the newest frame of each stream, at most one per stream.
        turns: when each stream was taken last, as a number that grows; a stream that is missing never was.
        limit: the most frames of a batch.
        foresight: what batches have taken.
        now: monotonic seconds.
    """
    if not waiting:
        return Choice([], [])
    fresh: list[Frame] = []
    stale: list[Frame] = []
    for frame in waiting:
        (stale if is_stale(frame, foreseen=foresight.batch_s, now=now) else fresh).append(frame)
    count = fitting(min(frame.good_for_s for frame in waiting), limit=limit, per_frame_s=foresight.per_frame_s)
    if len(fresh) > count:
        fresh.sort(key=lambda frame: turns.get(frame.stream, -1))
    return Choice(fresh[:count], stale)


def fitting(period_s: float, *, limit: int, per_frame_s: float) -> int:
    """Return how many frames go into a batch (rule 1); at least one."""
    if limit * per_frame_s <= BATCH_SHARE * period_s:
        return limit
    return max(1, int(BATCH_SHARE * period_s / per_frame_s))


def is_stale(frame: Frame, *, foreseen: float, now: float) -> bool:
    """Tell whether a frame has become too old (rule 2); `foreseen` is what its batch will take."""
    age = now - frame.arrived_at
    return age > frame.good_for_s or (foreseen <= frame.good_for_s / 2 < age and age + foreseen > frame.good_for_s)
