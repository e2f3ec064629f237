"""Reads the output of a one-stage detector into boxes, the layouts that exporters write. Numpy only, so training code may use it.

| head | output | a row |
|---|---|---|
| `classes` | (N, 4 + C, A) or (N, A, 4 + C) | cx, cy, width, height, one probability per class |
| `objectness` | (N, 5 + C, A) or (N, A, 5 + C) | the same, with the probability of an object before the classes; the score is the product |
| `boxes` | (N, A, 6) | x0, y0, x1, y1, score, class: doubles are suppressed already |

Coordinates are pixels of the network's input, scores are probabilities (after the sigmoid). Rules, in order:
1. An output that fits no layout for that many labels, or holds a number that is not finite, is an EngineError.
2. Candidates reach `score_threshold`; the `MOST_CANDIDATES` surest of a picture go on.
3. Doubles of one class are suppressed (boxes.suppress), except in the head `boxes`.

Not here: heads with raw grid offsets or anchors, which exporters fold into the graph.
"""

from __future__ import annotations

import numpy as np

from shared.errors import EngineError
from shared.vision.boxes import BoxArray, Detections, suppress

CLASSES, OBJECTNESS, BOXES = "classes", "objectness", "boxes"
HEADS = (CLASSES, OBJECTNESS, BOXES)
MOST_CANDIDATES = 2000
Output = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def head_of(shape: tuple[int, ...], labels: int) -> str:
    """Return which head an output of this shape is, from its number of columns.

    Args:
        shape: the output's; the axis that is one of 4 + labels, 5 + labels or 6 holds the columns.
        labels: how many classes there are.

    Raises:
        EngineError: it fits no layout.
    """
    if len(shape) == 3:
        for head, columns in ((CLASSES, 4 + labels), (OBJECTNESS, 5 + labels)):
            if columns in shape[1:]:
                return head
        if shape[2] == 6:
            return BOXES
    raise EngineError(
        f"an output of shape {list(shape)} is no detection head for {labels} labels.",
        f"Export (N, {4 + labels}, boxes), (N, boxes, {5 + labels}) with objectness, or (N, boxes, 6) after suppression; check the labels.",
    )


def decode_yolo(
    output: Output, *, labels: int, score_threshold: float, iou_threshold: float, most: int, head: str | None = None
) -> list[Detections]:
    """Turn a detector's output into detections.

    Args:
        output: float, shape (N, ...), see the table above.
        labels: how many classes there are.
        score_threshold: the lowest score a candidate has, 0 to 1.
        iou_threshold: boxes of one class that overlap by more than this count as one.
        most: detections of one picture at most.
        head: which layout it is; found from the shape when left out (`classes` where more than one fits).

    Returns:
        One Detections per picture, the surest first, in pixels of the network's input; not cut off at its edges.

    Raises:
        EngineError: the output fits no layout, or holds numbers that are not finite.
    """
    rows = as_rows(output, labels=labels, head=head)
    return [
        _decode_one(one, head=head or head_of(output.shape, labels), limits=(score_threshold, iou_threshold, most), labels=labels)
        for one in rows
    ]


def as_rows(output: Output, *, labels: int, head: str | None = None) -> Output:
    """Return a head's output as (N, boxes, columns); arguments and errors as in `decode_yolo`."""
    head = head or head_of(output.shape, labels)
    if head not in HEADS:
        raise EngineError(f"there is no detection head {head!r}.", f"Use one of: {', '.join(HEADS)}.")
    columns = {CLASSES: 4 + labels, OBJECTNESS: 5 + labels, BOXES: 6}[head]
    if output.ndim != 3 or columns not in output.shape[1:]:
        raise EngineError(f"an output of shape {list(output.shape)} has no axis of {columns}, which head {head!r} has for {labels} labels.")
    if not np.isfinite(output.sum()):  # one pass: any NaN or infinity shows in the sum
        raise EngineError("the model answered with boxes that are not finite.", "The release is unusable; fall back.")
    is_turned = output.shape[2] != columns
    return np.asarray(output.transpose(0, 2, 1) if is_turned else output)


def class_scores(rows: Output, head: str) -> Output:
    """Return the score of each class for each row of `as_rows`, shape (N, boxes, classes); not for the head `boxes`."""
    return np.asarray(rows[..., 5:] * rows[..., 4:5] if head == OBJECTNESS else rows[..., 4:])


def _decode_one(rows: Output, *, head: str, limits: tuple[float, float, int], labels: int) -> Detections:
    score_threshold, iou_threshold, most = limits
    if head == BOXES:
        return _ready(rows, score_threshold, most, labels)
    scores = class_scores(rows, head)
    best = scores.max(axis=1)
    places = np.flatnonzero(best >= score_threshold)
    if len(places) > MOST_CANDIDATES:
        places = places[np.argsort(-best[places], kind="stable")[:MOST_CANDIDATES]]
    candidates = Detections(
        boxes=corners(rows[places, :4]),
        scores=best[places].astype(np.float32),
        classes=scores[places].argmax(axis=1).astype(np.int64),
    )
    return suppress(candidates, iou_threshold=iou_threshold, most=most)


def _ready(rows: Output, score_threshold: float, most: int, labels: int) -> Detections:
    rows = rows[(rows[:, 4] >= score_threshold) & (rows[:, 5] >= 0) & (rows[:, 5] < labels)]
    rows = rows[np.argsort(-rows[:, 4], kind="stable")[:most]]
    return Detections(boxes=rows[:, :4].astype(np.float32), scores=rows[:, 4].astype(np.float32), classes=rows[:, 5].astype(np.int64))


def corners(centred: BoxArray) -> BoxArray:
    """Return boxes given as centre and size, float (N, 4), as corners, float32 (N, 4)."""
    half = centred[:, 2:] / 2
    return np.concatenate([centred[:, :2] - half, centred[:, :2] + half], axis=1).astype(np.float32)
