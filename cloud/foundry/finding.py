"""What a finished detector finds and how good that is: boxes on many pictures by the very engine of the devices, mAP, missed things."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cloud.foundry.boards import Boards, rgb
from shared.engines.onnx import OnnxEngine
from shared.release.card import InputSpec
from shared.vision.boxes import Detections
from shared.vision.preprocess import prepare
from shared.vision.tasks.heads import decode_yolo
from shared.vision.tasks.precision import COCO_THRESHOLDS, Truth, matched, mean_average_precision, missed

LOWEST_SCORE = 0.01
"""Boxes below count nowhere: mAP wants the whole curve, not only what a device would show."""
OVERLAP = 0.5
MOST = 100
THRESHOLDS = tuple(0.05 * step for step in range(1, 17))


def detections(onnx: Path, frames: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], spec: InputSpec, labels: int) -> list[Detections]:
    """Return what a detector finds in pictures, down to LOWEST_SCORE.

    Args:
        onnx: the model file.
        frames: uint8 (N, H, W, 1 or 3).
        spec: the model's input.
        labels: how many classes it has.
    """
    engine = OnnxEngine(onnx, threads=2)
    found: list[Detections] = []
    for start in range(len(frames)):
        output = engine.run(prepare(rgb(frames[start : start + 1]), spec))
        found += decode_yolo(output, labels=labels, score_threshold=LOWEST_SCORE, iou_threshold=OVERLAP, most=MOST)
    engine.close()
    return found


def truths(boards: Boards) -> list[Truth]:
    """Return what is in each picture of a split."""
    scenes = boards.scenes
    own = [np.flatnonzero(scenes.pictures == picture) for picture in range(len(scenes))]
    return [Truth(boxes=scenes.boxes[one], classes=scenes.classes[one]) for one in own]


def figures(found: Sequence[Detections], truth: Sequence[Truth], threshold: float) -> dict[str, float]:
    """Return how good a detector is.

    Args:
        found: what it found in each picture, down to LOWEST_SCORE.
        truth: what is in each picture.
        threshold: the score from which boxes are told.

    Returns:
        `map_50` and `map_50_95` (mAP at an overlap of 0.5, and over 0.5 to 0.95); of the told boxes `f1`; `missed_things` and
        `missed_pictures`, the shares of things, and of pictures with a thing, that no told box found.
    """
    told = [one.take(one.scores >= threshold) for one in found]
    lost = np.array([missed(one, true) for one, true in zip(told, truth, strict=True)])
    return {
        "map_50": mean_average_precision(found, truth, thresholds=(OVERLAP,)),
        "map_50_95": mean_average_precision(found, truth, thresholds=COCO_THRESHOLDS),
        "f1": f1(found, truth, threshold),
        "missed_things": float(lost.sum() / max(1, sum(len(true.classes) for true in truth))),
        "missed_pictures": float((lost > 0).mean()),
    }


def f1(found: Sequence[Detections], truth: Sequence[Truth], threshold: float) -> float:
    """Return the harmonic mean of precision and recall of the boxes whose score reaches a threshold, 0 to 1."""
    told = [one.take(one.scores >= threshold) for one in found]
    hits = sum(int(matched(one, true, threshold=OVERLAP)[0].sum()) for one, true in zip(told, truth, strict=True))
    return 2 * hits / max(1, sum(len(one) for one in told) + sum(len(true.classes) for true in truth))


def threshold_of(found: Sequence[Detections], truth: Sequence[Truth]) -> float:
    """Return the score from which boxes should be told: of THRESHOLDS the one with the best F1, the lowest of equals."""
    return max(THRESHOLDS, key=lambda one: f1(found, truth, one))


def right(found: Sequence[Detections], truth: Sequence[Truth], threshold: float) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return on which pictures every thing has a told box and every told box a thing."""
    told = [one.take(one.scores >= threshold) for one in found]
    pairs = [matched(one, true, threshold=OVERLAP) for one, true in zip(told, truth, strict=True)]
    return np.array([bool(hits.all() and seen.all()) for hits, seen in pairs])
