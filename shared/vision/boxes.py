"""Boxes of objects in a picture: what a detector found, overlap, and suppression of doubles. Numpy only, so training code may use it.

Boxes are `x0, y0, x1, y1` in pixels of whatever picture they belong to, with x to the right and y down; the right and lower edges are
outside, so a box's width is `x1 - x0`. Not here: reading a network's output (tasks.heads), figures of merit (tasks.precision).

Example:
    >>> one = np.array([[0, 0, 2, 2]], np.float32)
    >>> overlap(one, one + 1).round(3).tolist()
    [[0.143]]
"""

from __future__ import annotations

import msgspec
import numpy as np

BoxArray = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
"""float32, shape (N, 4)."""
Scores = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Classes = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
Rows = np.ndarray[tuple[int, ...], np.dtype[np.int64]] | np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


class Detections(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in one picture, mostly the surest first.

    `boxes` are float32 (N, 4) in pixels of the picture, `scores` float32 (N) from 0 to 1, `classes` int64 (N).
    """

    boxes: BoxArray
    scores: Scores
    classes: Classes

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: Rows) -> Detections:
        """Return the detections of these rows, given by number or by a mask."""
        return Detections(boxes=self.boxes[rows], scores=self.scores[rows], classes=self.classes[rows])

    def scaled(self, *, horizontally: float, vertically: float) -> Detections:
        """Return the same in a picture that is so many times as wide and as high."""
        factors = np.array([horizontally, vertically, horizontally, vertically], np.float32)
        return msgspec.structs.replace(self, boxes=self.boxes * factors)

    def moved(self, *, right: float, down: float) -> Detections:
        """Return the same in a picture whose corner lies so many pixels up and to the left."""
        return msgspec.structs.replace(self, boxes=self.boxes + np.array([right, down, right, down], np.float32))


def nothing() -> Detections:
    """Return no detections."""
    return Detections(boxes=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32), classes=np.zeros(0, np.int64))


def joined(first: Detections, second: Detections) -> Detections:
    """Return the detections of both, the surest first."""
    both = Detections(
        boxes=np.concatenate([first.boxes, second.boxes]),
        scores=np.concatenate([first.scores, second.scores]),
        classes=np.concatenate([first.classes, second.classes]),
    )
    return both.take(np.argsort(-both.scores, kind="stable"))


def areas(boxes: BoxArray) -> Scores:
    """Return the area of each box in square pixels, float32 of shape (N); a box turned inside out has none."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def overlap(first: BoxArray, second: BoxArray) -> BoxArray:
    """Return the intersection over union of every pair, float32 of shape (N, M); 0 where both boxes are empty."""
    both = np.maximum(np.minimum(first[:, None, 2:], second[None, :, 2:]) - np.maximum(first[:, None, :2], second[None, :, :2]), 0)
    common = both[..., 0] * both[..., 1]
    union = areas(first)[:, None] + areas(second)[None] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))


def clipped(boxes: BoxArray, *, width: float, height: float) -> BoxArray:
    """Return the boxes cut off at the edges of a picture of that size in pixels."""
    return np.asarray(np.clip(boxes, 0, np.array([width, height, width, height], np.float32)))


def suppress(found: Detections, *, iou_threshold: float, most: int) -> Detections:
    """Keep the surest of detections of one class that overlap (greedy non-maximum suppression, class by class).

    Args:
        found: any order.
        iou_threshold: boxes of one class that overlap by more than this count as one object.
        most: how many to return at most.

    Returns:
        The surest first; with equal scores the earlier one is first.
    """
    found = found.take(np.argsort(-found.scores, kind="stable"))
    left = np.ones(len(found), bool)
    kept: list[int] = []
    for row in range(len(found)):
        if len(kept) == most:
            break
        if not left[row]:
            continue
        kept.append(row)
        rest = row + 1 + np.flatnonzero(left[row + 1 :] & (found.classes[row + 1 :] == found.classes[row]))
        left[rest[overlap(found.boxes[row : row + 1], found.boxes[rest])[0] > iou_threshold]] = False
    return found.take(np.array(kept, np.int64))
