"""Figures of merit of detection: mean average precision, and which objects were missed. Numpy only, so training code may use it.

Rules, in order (the way of the COCO evaluation, Lin et al. 2014, without its "crowd" regions and size ranges):
1. Within a picture and a class, detections are matched in the order of their scores, each to the free object it overlaps most,
   if by at least the threshold.
2. Precision is made monotone from the right and averaged at 101 recalls, class by class over all pictures.
3. The mean goes over the classes that occur in the truth, then over the thresholds.

Example:
    >>> box = np.array([[0, 0, 10, 10]], np.float32)
    >>> truth = [Truth(boxes=box, classes=np.zeros(1, np.int64))]
    >>> found = [Detections(boxes=box, scores=np.ones(1, np.float32), classes=np.zeros(1, np.int64))]
    >>> mean_average_precision(found, truth, thresholds=COCO_THRESHOLDS)
    1.0
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from shared.errors import InputError
from shared.vision.boxes import BoxArray, Classes, Detections, overlap

COCO_THRESHOLDS = tuple(0.5 + 0.05 * step for step in range(10))
"""The thresholds of mAP@[.5:.95]."""
_RECALLS = np.linspace(0, 1, 101)
Weights = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
_Hits = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """The objects that are in one picture: `boxes` float32 (N, 4) in its pixels, `classes` int64 (N)."""

    boxes: BoxArray
    classes: Classes


def mean_average_precision(found: Sequence[Detections], truth: Sequence[Truth], *, thresholds: Sequence[float] = (0.5,)) -> float:
    """Return the mean average precision, 0 to 1; 0 where there is nothing to find.

    Args:
        found: what was found in each picture, down to scores near 0: what is cut off above costs recall.
        truth: what is in each picture.
        thresholds: overlaps from which a detection counts, e.g. (0.5,) or COCO_THRESHOLDS.

    Raises:
        InputError: not as many pictures found as true.
    """
    if len(found) != len(truth):
        raise InputError(f"{len(found)} pictures were searched, {len(truth)} are described.")
    once = np.ones(len(truth))
    values = [one.precision(once) for threshold in thresholds for one in ranked(found, truth, threshold=threshold)]
    return float(np.mean(values)) if values else 0.0


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """A class's detections in all pictures in the order of their scores: which are right, and of which picture each is.

    `objects` counts the objects of each picture.
    """

    hits: _Hits
    pictures: Classes
    objects: Classes

    def precision(self, weights: Weights) -> float:
        """Return the average precision (rule 2), 0 to 1, each picture counted as often as its weight says; NaN without any object."""
        objects = float(weights @ self.objects)
        if not objects:
            return float("nan")
        own = weights[self.pictures]
        right, told = np.cumsum(own * self.hits), np.cumsum(own)
        precision = np.maximum.accumulate(np.divide(right, told, out=np.zeros(len(told)), where=told > 0)[::-1])[::-1]
        places = np.searchsorted(right / objects, _RECALLS - 1e-12, side="left")
        return float(np.append(precision, 0.0)[np.minimum(places, len(told))].mean())


def ranked(found: Sequence[Detections], truth: Sequence[Truth], *, threshold: float) -> list[Ranked]:
    """Return the ranked detections of each class that occurs in the truth; arguments as for `mean_average_precision`."""
    present = sorted({int(one) for picture in truth for one in picture.classes})
    return [_ranked(found, truth, one, threshold) for one in present]


def weighted_precision(classes: Sequence[Ranked], weights: Weights) -> float:
    """Return the mean average precision of ranked classes, pictures counted by weight; 0 where nothing is to be found."""
    values = np.array([one.precision(weights) for one in classes])
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0


def matched(found: Detections, truth: Truth, *, threshold: float) -> tuple[_Hits, _Hits]:
    """Match what was found to what is there (rule 1), within classes.

    Args:
        found: any order.
        truth: the objects of the same picture.
        threshold: overlap from which a detection counts.

    Returns:
        Which detections found an object, and which objects were found: bool of the shapes (found) and (truth).
    """
    hits, seen = np.zeros(len(found), bool), np.zeros(len(truth.classes), bool)
    overlaps = overlap(found.boxes, truth.boxes)
    overlaps[found.classes[:, None] != truth.classes[None]] = -1.0
    for row in np.argsort(-found.scores, kind="stable") if len(seen) else ():
        free = np.where(seen, -1.0, overlaps[row])
        best = int(free.argmax())
        if free[best] >= threshold:
            hits[row] = seen[best] = True
    return hits, seen


def missed(found: Detections, truth: Truth, *, threshold: float = 0.5) -> int:
    """Return how many objects of a picture were not found with their class."""
    return int((~matched(found, truth, threshold=threshold)[1]).sum())


def _ranked(found: Sequence[Detections], truth: Sequence[Truth], one: int, threshold: float) -> Ranked:
    scores, hits, pictures, objects = [], [], [], []
    for place, (here, there) in enumerate(zip(found, truth, strict=True)):
        mine, real = here.take(here.classes == one), there.classes == one
        objects.append(int(real.sum()))
        hits.append(matched(mine, Truth(boxes=there.boxes[real], classes=there.classes[real]), threshold=threshold)[0])
        scores.append(mine.scores)
        pictures.append(np.full(len(mine), place, np.int64))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return Ranked(hits=np.concatenate(hits)[order], pictures=np.concatenate(pictures)[order], objects=np.array(objects, np.int64))
