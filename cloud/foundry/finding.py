"""What a finished detector finds and how good that is: boxes on many pictures by the very engine of the devices, mAP, missed things."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cloud.foundry.boards import Boards, rgb
from shared.engines.onnx import OnnxEngine
from shared.release.card import InputSpec
from shared.vision.boxes import Detections
from shared.vision.preprocess import prepare
from shared.vision.tasks.heads import decode_yolo
from shared.vision.tasks.precision import COCO_THRESHOLDS, Truth, mean_average_precision, missed

LOWEST_SCORE = 0.01
"""Boxes below count nowhere: mAP wants the whole curve, not only what a device would show."""
OVERLAP = 0.5
MOST = 100
SHOWN_SCORE = 0.3
"""What a device shows: a thing whose best box has less is missed."""


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


def figures(found: list[Detections], truth: list[Truth]) -> dict[str, float]:
    """Return mAP at an overlap of 0.5 and over 0.5 to 0.95, and the shares of things and of pictures with a thing missed."""
    lost = np.array([missed(shown(one), true) for one, true in zip(found, truth, strict=True)])
    things = sum(len(true.classes) for true in truth)
    return {
        "map_50": mean_average_precision(found, truth, thresholds=(0.5,)),
        "map_50_95": mean_average_precision(found, truth, thresholds=COCO_THRESHOLDS),
        "missed_things": float(lost.sum() / max(1, things)),
        "missed_pictures": float((lost > 0).mean()),
    }


def shown(found: Detections) -> Detections:
    """Return what a device would show of what was found."""
    return found.take(found.scores >= SHOWN_SCORE)
