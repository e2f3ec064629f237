"""Two releases on the same pictures: a paired difference with an interval over units, what each defers, how fast each is here.

Rules, in order:
1. Both are read as devices read them: fit, second look, score and threshold of their cards.
2. The figure compared is a classifier's accuracy, a detector's mean average precision at an overlap of 0.5, a segmenter's mean
   intersection over union. What the pictures show is said by their folders, or by boxes or masks beside them.
3. The interval draws whole units and computes the figure anew for each draw, the same units for both releases.
4. How often a release is right counts pictures: the class; every thing and nothing else; every area.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from cloud.foundry import finding
from cloud.ownmodel import album, boxfiles, latency, maskfiles, readings
from cloud.ownmodel.album import Album
from cloud.ownmodel.release import Release
from shared.deferral.reading import Reading
from shared.engines.onnx import OnnxEngine
from shared.errors import InputError
from shared.learning.samples import Frames
from shared.release.card import DetectionSpec
from shared.vision.preprocess import prepare
from shared.vision.tasks.masks import mean_over_union
from shared.vision.tasks.precision import ranked, weighted_precision
from shared.vision.tasks.segmentation import SAME
from shared.vision.tasks.shapes import unpack_map
from shared.vision.tasks.task import CLASSIFICATION, DETECTION, SEGMENTATION, agrees

DRAWS = 1000
MOST_PICTURES = 1000
FIGURES = {CLASSIFICATION: "accuracy", DETECTION: "map_50", SEGMENTATION: "mean_iou"}
TRUTHS = {
    CLASSIFICATION: "Sort them into one sub-folder per class.",
    DETECTION: "Put boxes beside them: images/a.jpg, labels/a.txt.",
    SEGMENTATION: "Put masks beside them: images/a.jpg, masks/a.png.",
}
Flags = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Weights = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One release: its figure, how often it is right, what share it defers and how often it is right on the rest, size, time.

    `deferred_share` is None without calibration, `kept_right` where nothing is kept.
    """

    name: str
    value: float
    right: float
    deferred_share: float | None
    kept_right: float | None
    bytes: int
    p50_ms: float


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides, the difference of their figures (first minus second) with its 95 % interval, and how often they agree.

    `figure` names what is compared.
    """

    figure: str
    first: Side
    second: Side
    difference: float
    low: float
    high: float
    agreement: float
    pictures: int
    units: int


class _Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A release on the pictures: what it says, where it is right, and its figure when pictures count by weight."""

    reading: Reading
    right: Flags
    figure: Callable[[Weights], float]


def compare(first: Release, second: Release, folder: Path) -> Comparison:
    """Compare two releases.

    Args:
        first: a release.
        second: the one it is compared with.
        folder: pictures with what they show; at most MOST_PICTURES are looked at.

    Raises:
        InputError: the releases have other tasks or classes, or it is not said what the pictures show.
    """
    task = first.card.task
    if (first.card.labels, task) != (second.card.labels, second.card.task):
        raise InputError("the two releases have other classes.", "Compare releases for one task with the same labels in the same order.")
    where = folder if task == CLASSIFICATION else boxfiles.images(folder)
    pictures = album.find(where, first.card.labels, most=MOST_PICTURES)
    judges = [_JUDGES[task](one, pictures) for one in (first, second)]
    count, units = len(pictures.files), pictures.units
    once = np.ones(count)
    low, high = interval(judges[0].figure, judges[1].figure, units)
    times = _times((first, second), pictures)
    sides = [_side(one, judge, seconds) for one, judge, seconds in zip((first, second), judges, times, strict=True)]
    said = zip(*(judge.reading.predictions for judge in judges), strict=True)
    return Comparison(
        figure=FIGURES[task],
        first=sides[0],
        second=sides[1],
        difference=judges[0].figure(once) - judges[1].figure(once),
        low=low,
        high=high,
        agreement=float(np.mean([agrees(one, other) for one, other in said])),
        pictures=count,
        units=len(set(units)),
    )


def interval(first: Callable[[Weights], float], second: Callable[[Weights], float], units: tuple[str, ...]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the difference of two figures, drawing whole units (Efron 1979; percentiles of DRAWS draws).

    Args:
        first: gives a figure for weights float64 (N): how often each picture counts.
        second: the other.
        units: the unit of each picture.
    """
    _, places = np.unique(np.asarray(units), return_inverse=True)
    many, random = int(places.max()) + 1, np.random.default_rng(1)
    found = []
    for _ in range(DRAWS):
        weights = np.bincount(random.integers(0, many, many), minlength=many)[places].astype(np.float64)
        found.append(first(weights) - second(weights))
    return float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))


def in_words(found: Comparison) -> Iterator[str]:
    """Tell a comparison."""
    yield f"{'':24}{found.figure:>10}{'right':>10}{'deferred':>10}{'kept right':>12}{'kB':>10}{'ms':>8}"
    for one in (found.first, found.second):
        share, kept = ("-" if value is None else f"{value:.1%}" for value in (one.deferred_share, one.kept_right))
        yield f"{one.name:24}{one.value:>10.1%}{one.right:>10.1%}{share:>10}{kept:>12}{one.bytes / 1e3:>10.0f}{one.p50_ms:>8.2f}"
    judged = "the first is better" if found.low > 0 else "the second is better" if found.high < 0 else "no difference is shown"
    yield f"difference {found.difference:+.2%}, 95 % between {found.low:+.2%} and {found.high:+.2%} ({found.units} units): {judged}"
    yield f"the same answer on {found.agreement:.1%} of {found.pictures} pictures"


def _read(one: Release, pictures: Album) -> Reading:
    def batches() -> Iterator[readings.Batch]:
        for start in range(0, len(pictures.files), readings.BATCH):
            seen = [album.picture(file, one.card.input) for file in pictures.files[start : start + readings.BATCH]]
            yield np.stack([frame for frame, _ in seen]), [size for _, size in seen]

    return readings.of(one.file, one.card, batches())


def _classes(one: Release, pictures: Album) -> _Judged:
    if not pictures.labelled:
        raise InputError("it is not said what the pictures show.", TRUTHS[CLASSIFICATION])
    reading = _read(one, pictures)
    right = np.array([said.index for said in reading.predictions]) == pictures.label_array()
    return _Judged(reading=reading, right=right, figure=lambda weights: float(weights @ right / weights.sum()))


def _objects(one: Release, pictures: Album) -> _Judged:
    spec, names = one.card.input, one.card.labels
    truth = boxfiles.truths(pictures.files, classes=len(names), width=spec.width, height=spec.height)
    if truth is None:
        raise InputError("it is not said what the pictures show.", TRUTHS[DETECTION])
    reading = _read(one, pictures)
    found = reading.candidates or []
    classes = ranked(found, truth, threshold=finding.OVERLAP)
    right = finding.right(found, truth, (one.card.detection or DetectionSpec()).score_threshold)
    return _Judged(reading=reading, right=right, figure=lambda weights: weighted_precision(classes, weights))


def _areas(one: Release, pictures: Album) -> _Judged:
    masks, classes = maskfiles.beside(pictures.files), len(one.card.labels)
    if masks is None:
        raise InputError("it is not said what the pictures show.", TRUTHS[SEGMENTATION])
    reading = _read(one, pictures)
    maps = [unpack_map(said.mask) for said in reading.predictions if said.mask is not None]
    pairs = zip(maps, masks, strict=True)
    counts = np.stack([maskfiles.compared(found, maskfiles.read(mask, classes=classes), classes=classes) for found, mask in pairs])
    right = np.array([maskfiles.agreeing(each, least=SAME) for each in counts])
    return _Judged(
        reading=reading, right=right, figure=lambda weights: mean_over_union(np.asarray(np.tensordot(weights, counts, axes=1), np.int64))
    )


_JUDGES = {CLASSIFICATION: _classes, DETECTION: _objects, SEGMENTATION: _areas}


def _times(pair: tuple[Release, Release], pictures: Album) -> list[list[float]]:
    """Return seconds per run of both, by turns; sizes may differ, so each gets the picture in its own."""
    engines = [OnnxEngine(one.file) for one in pair]
    try:
        first = [prepare(_first(one, pictures), one.card.input) for one in pair]
        return latency.pairs(engines, [[batch] for batch in first])
    finally:
        for engine in engines:
            engine.close()


def _first(one: Release, pictures: Album) -> Frames:
    return album.picture(pictures.files[0], one.card.input)[0][None]


def _side(one: Release, judged: _Judged, seconds: list[float]) -> Side:
    chosen = one.card.calibration
    kept = np.ones(len(judged.right), bool) if chosen is None else np.array(judged.reading.scores) >= chosen.threshold
    return Side(
        name=str(one.file.parent),
        value=judged.figure(np.ones(len(judged.right))),
        right=float(judged.right.mean()),
        deferred_share=None if chosen is None else float(1.0 - kept.mean()),
        kept_right=float(judged.right[kept].mean()) if kept.any() else None,
        bytes=one.file.stat().st_size,
        p50_ms=latency.middle(seconds),
    )
