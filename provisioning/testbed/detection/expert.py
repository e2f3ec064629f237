"""What the demo measures beside the daemons: what the expert would tell of every streamed board, and what a whole board weighs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from provisioning.testbed.measure import bytes_per_frame
from shared.engines.onnx import OnnxEngine
from shared.release.card import decode_card
from shared.vision.boxes import Detections
from shared.vision.preprocess import prepare
from shared.vision.tasks.detection import Detection

FALLBACK_QUALITY = 80
"""What devices take where the card has no table of qualities."""


def told(models: Path, paths: Mapping[str, Path]) -> dict[str, list[Detections]]:
    """Return what the expert tells of each board, by stream and place, in pixels.

    Args:
        models: the folder of the models.
        paths: the streams' files.
    """
    card = decode_card((models / "expert" / "000001.card.json").read_bytes())
    task = Detection.of(card)
    engine = OnnxEngine(models / "expert" / "000001.onnx", threads=2)
    found: dict[str, list[Detections]] = {}
    try:
        for name, path in paths.items():
            frames = _frames(path)
            scale = frames.shape[2] / card.input.width, frames.shape[1] / card.input.height
            rows = [task.candidates(engine.run(prepare(frame[None], card.input)))[0] for frame in frames]
            kept = [row.take(row.scores >= task.spec.score_threshold) for row in rows]
            found[name] = [row.scaled(horizontally=scale[0], vertically=scale[1]) for row in kept]
    finally:
        engine.close()
    return found


def whole_bytes(models: Path, paths: Mapping[str, Path]) -> float:
    """Return the mean bytes of a whole board in the codec and quality in which devices send parts of them."""
    card = decode_card((models / "student" / "000001.card.json").read_bytes())
    quality = card.picture_quality[0].quality if card.picture_quality else FALLBACK_QUALITY
    return float(np.mean([bytes_per_frame(_frames(path), quality=quality) for path in paths.values()]))


def _frames(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
        return np.asarray(data["frames"])
