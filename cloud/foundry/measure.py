"""What a finished model reaches: its speed, and what picture codecs cost it. Runs the very engine of the devices."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cloud.foundry.pictures import Pictures
from cloud.foundry.predictions import logits
from shared.engines.onnx import OnnxEngine
from shared.errors import InputError
from shared.learning.samples import Frames
from shared.release.card import InputSpec, QualityPoint
from shared.vision import picture
from shared.vision.preprocess import prepare
from shared.vision.tasks.logits import accuracy

QUALITIES = (50, 65, 80, 90, 97)
LARGEST_QUALITY_LOSS = 0.004
"""What the expert may lose by a picture codec before the next better quality is taken (share of frames)."""


def speedup(fp32: Path, int8: Path, frames: Frames, spec: InputSpec, *, pairs: int = 400) -> tuple[float, float]:
    """Return how many times faster INT8 is than FP32, and INT8's median in milliseconds.

    Single pictures, one thread, the two models by turns on the same picture, so that whatever else the machine does meets both;
    the speed-up is the median of the pairs' ratios.
    """
    engines = [OnnxEngine(path, threads=1) for path in (fp32, int8)]
    batches = [prepare(frames[index : index + 1], spec) for index in range(min(16, len(frames)))]
    for engine in engines:
        for batch in batches:
            engine.run(batch)
    ratios, fast = [], []
    for index in range(pairs):
        batch = batches[index % len(batches)]
        slow_s, fast_s = (_seconds(engine, batch) for engine in engines)
        ratios.append(slow_s / fast_s)
        fast.append(fast_s)
    for engine in engines:
        engine.close()
    return statistics.median(ratios), statistics.median(fast) * 1e3


def _seconds(engine: OnnxEngine, batch: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    begin = time.perf_counter()
    engine.run(batch)
    return time.perf_counter() - begin


def picture_quality(
    expert: Path, pictures: Pictures, spec: InputSpec, *, codecs: Sequence[str] = ("webp", "jpeg")
) -> tuple[QualityPoint, ...]:
    """Return bytes and expert accuracy per quality of the picture codecs; the first is the one to use, the others ascend by codec.

    The one to use is the smallest whose accuracy lies within LARGEST_QUALITY_LOSS of the undamaged pictures'.
    """
    whole = accuracy(logits(expert, pictures.frames, spec), pictures.labels)
    points = []
    for codec, quality in itertools.product(codecs, QUALITIES):
        sent = [picture.encode(pixels, codec=codec, quality=quality) for pixels in pictures.frames]
        received = np.stack([picture.decode(one) for one in sent])
        found = accuracy(logits(expert, received, spec), pictures.labels)
        size = statistics.fmean(len(one.data) for one in sent)
        points.append(QualityPoint(codec=codec, quality=quality, bytes_mean=size, expert_accuracy=found))
    return preferred_first(points, whole)


def preferred_first(points: Sequence[QualityPoint], whole: float) -> tuple[QualityPoint, ...]:
    """Return the points with the one to use in front.

    Raises:
        InputError: there are no points.
    """
    if not points:
        raise InputError("no picture quality was measured.")
    good = [one for one in points if one.expert_accuracy >= whole - LARGEST_QUALITY_LOSS]
    best = min(good, key=lambda one: one.bytes_mean) if good else max(points, key=lambda one: one.expert_accuracy)
    return (best, *(one for one in points if one is not best))
