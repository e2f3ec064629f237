"""How sure it is that a detector's answer is complete: signals of missed objects, in one unit. Pure.

Every score is the logarithm of a probability, at most 0; higher is surer. A detector is wrong silently: what it does not see has no box,
so no confidence of a box can tell. What can tell, in this order:

1. Candidates below the threshold: each says with which probability it is an object. `nothing_missed` is the logarithm of the probability
   that none is, as if they were independent; `all_right` also asks that every told box is one; `best_doubt` looks at the surest only.
2. A frame without a box is never sure by itself: it counts as if a candidate of half the threshold had been there.
3. Hints from the frames before (`Hints`): a track that vanished in the middle of the picture, something that moved where no box is, a
   number of objects that differs between neighbouring frames. Each takes away from the score, none adds: a threshold that was fitted
   without them keeps fewer frames with them, so its bound still holds.

`least_sure_box` is the rival: the confidence of the least sure told box, max-softmax's like for boxes.

Example:
    >>> found = Candidates(scores=np.array([0.9, 0.1]), threshold=0.25)
    >>> round(nothing_missed(found), 4), round(least_sure_box(found), 4)
    (-0.1054, -0.1054)
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np

Numbers = np.ndarray[tuple[int, ...], np.dtype[np.floating]]
HIGHEST = 0.999
"""No candidate counts for more: the logarithm stays finite."""
MOVED, FLICKER = 0.2, 0.1
"""How likely something was missed where a whole picture moved without a box, and for each object that neighbouring frames disagree on."""
EMPTY = 0.5
"""A frame without a box counts as if it had a candidate of this share of the threshold."""


class Candidates(msgspec.Struct, frozen=True, kw_only=True):
    """What a detector said of one frame: `scores` of all candidates in any order, and the `threshold` from which they are told."""

    scores: Numbers
    threshold: float

    @property
    def told(self) -> Numbers:
        """The scores of the boxes that are told."""
        return self.scores[self.scores >= self.threshold]

    @property
    def doubtful(self) -> Numbers:
        """The scores of the candidates that are not told; in a frame without a box at least the one of rule 2."""
        below = self.scores[self.scores < self.threshold]
        if len(below) < len(self.scores):
            return below
        least = EMPTY * self.threshold
        return np.append(below, least) if not (below >= least).any() else below


class Hints(msgspec.Struct, frozen=True, kw_only=True):
    """What the frames before say of a frame.

    `vanished` are the scores of tracks that ended away from the picture's edge; `moved` is the share of the picture, 0 to 1, that moved
    and lies in no box; `flicker` counts the objects that this frame and the one before do not both have.
    """

    vanished: tuple[float, ...] = ()
    moved: float = 0.0
    flicker: int = 0


NO_HINTS = Hints()


def nothing_missed(found: Candidates) -> float:
    """Return the log-probability that no candidate below the threshold is an object."""
    return _none_of(found.doubtful)


def all_right(found: Candidates) -> float:
    """Return the log-probability that no candidate below the threshold is an object and every told box is one."""
    return _none_of(found.doubtful) + _all_of(found.told)


def best_doubt(found: Candidates) -> float:
    """Return the log-probability that the surest candidate below the threshold is no object."""
    return math.log1p(-min(float(found.doubtful.max(initial=0.0)), HIGHEST))


def least_sure_box(found: Candidates) -> float:
    """Return the log-probability that the least sure told box is an object; 0, entirely sure, without a box (the rival's blindness)."""
    return math.log(max(float(found.told.min()), 1.0 - HIGHEST)) if len(found.told) else 0.0


def with_hints(score: float, hints: Hints) -> float:
    """Return a score less what the frames before take away from it (rule 3)."""
    if hints == NO_HINTS:
        return score
    moved = math.log1p(-MOVED * math.sqrt(min(max(hints.moved, 0.0), 1.0)))
    return score + _none_of(np.array(hints.vanished)) + moved + hints.flicker * math.log1p(-FLICKER)


def reason_of(score: float, hints: Hints) -> str:
    """Return which hint takes most away from a score, "" when the frame's own candidates do."""
    taken = {
        "track_vanished": _none_of(np.array(hints.vanished)),
        "moved_without_box": math.log1p(-MOVED * math.sqrt(min(max(hints.moved, 0.0), 1.0))),
        "neighbours_disagree": hints.flicker * math.log1p(-FLICKER),
    }
    name = min(taken, key=lambda key: taken[key])
    return name if taken[name] < score else ""


def statistics(found: Candidates) -> tuple[float, ...]:
    """Return figures of a frame for a learned score: every score of SCORES in order, how many boxes are told and how many doubtful."""
    return (*(score(found) for score in SCORES.values()), float(len(found.told)), float(len(found.doubtful)))


def _none_of(scores: Numbers) -> float:
    return float(np.log1p(-np.clip(scores, 0.0, HIGHEST)).sum())


def _all_of(scores: Numbers) -> float:
    return float(np.log(np.clip(scores, 1.0 - HIGHEST, 1.0)).sum())


SCORES: dict[str, Callable[[Candidates], float]] = {
    "nothing_missed": nothing_missed,
    "all_right": all_right,
    "best_doubt": best_doubt,
    "least_sure_box": least_sure_box,
}
"""Every score of a detector by the name a card gives it."""
DEFAULT = "all_right"
