"""Two releases on the same pictures: a paired difference with an interval over units, what each defers, how fast each is here."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from cloud.foundry import predictions
from cloud.ownmodel import album, latency
from cloud.ownmodel.album import Album
from cloud.ownmodel.release import Release
from shared.deferral.scores import SCORES
from shared.engines.onnx import OnnxEngine
from shared.errors import InputError
from shared.learning.samples import Frames
from shared.vision.preprocess import prepare

DRAWS = 1000
MOST_PICTURES = 1000
Flags = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One release: how often it is right, what share it defers and how often it is right on the rest, size, time.

    `deferred_share` is None without calibration, `kept_accuracy` where nothing is kept.
    """

    name: str
    accuracy: float
    deferred_share: float | None
    kept_accuracy: float | None
    bytes: int
    p50_ms: float


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides, the difference of their accuracies (first minus second) with its 95 % interval, and how often they agree."""

    first: Side
    second: Side
    difference: float
    low: float
    high: float
    agreement: float
    pictures: int
    units: int


def compare(first: Release, second: Release, pictures: Album) -> Comparison:
    """Compare two releases.

    Args:
        first: a release.
        second: the one it is compared with.
        pictures: labelled; at most MOST_PICTURES are looked at.

    Raises:
        InputError: the releases have other classes, or are no classifiers, or the pictures have no labels.
    """
    if first.card.labels != second.card.labels:
        raise InputError("the two releases have other classes.", "Compare releases with the same labels in the same order.")
    if first.card.task != "classification":
        raise InputError(f"releases for {first.card.task} cannot be compared yet.", "Compare the figures that `inspect` prints.")
    if not pictures.labelled:
        raise InputError("the pictures have no labels.", "Sort them into one sub-folder per class.")
    count = min(MOST_PICTURES, len(pictures.files))
    labels, units = pictures.label_array()[:count], pictures.units[:count]
    answers, sides = [], []
    times = _times((first, second), pictures)
    for one, seconds in zip((first, second), times, strict=True):
        logits = predictions.logits(one.file, _frames(one, pictures, count), one.card.input)
        answers.append(logits.argmax(axis=1))
        chosen = one.card.calibration
        deferred = np.zeros(count, bool) if chosen is None else SCORES[chosen.score](logits) < chosen.threshold
        sides.append(_side(one, answers[-1] == labels, deferred, seconds, calibrated=chosen is not None))
    right = [found == labels for found in answers]
    low, high = interval(right[0], right[1], units)
    return Comparison(
        first=sides[0],
        second=sides[1],
        difference=sides[0].accuracy - sides[1].accuracy,
        low=low,
        high=high,
        agreement=float((answers[0] == answers[1]).mean()),
        pictures=count,
        units=len(set(units)),
    )


def interval(first: Flags, second: Flags, units: tuple[str, ...]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the difference of two shares, drawing whole units (Efron 1979; percentiles of DRAWS draws).

    Args:
        first: where the first is right, bool (N).
        second: where the second is right, bool (N).
        units: the unit of each picture.
    """
    _, places = np.unique(np.asarray(units), return_inverse=True)
    total = np.bincount(places, first.astype(np.float64) - second.astype(np.float64))
    size = np.bincount(places)
    drawn = np.random.default_rng(1).integers(0, len(size), (DRAWS, len(size)))
    means = total[drawn].sum(axis=1) / size[drawn].sum(axis=1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def in_words(found: Comparison) -> Iterator[str]:
    """Tell a comparison."""
    yield f"{'':24}{'accuracy':>10}{'deferred':>10}{'kept right':>12}{'kB':>10}{'ms':>8}"
    for one in (found.first, found.second):
        share, kept = ("-" if value is None else f"{value:.1%}" for value in (one.deferred_share, one.kept_accuracy))
        yield f"{one.name:24}{one.accuracy:>10.1%}{share:>10}{kept:>12}{one.bytes / 1e3:>10.0f}{one.p50_ms:>8.2f}"
    judged = "the first is better" if found.low > 0 else "the second is better" if found.high < 0 else "no difference is shown"
    yield f"difference {found.difference:+.2%}, 95 % between {found.low:+.2%} and {found.high:+.2%} ({found.units} units): {judged}"
    yield f"the same answer on {found.agreement:.1%} of {found.pictures} pictures"


def _frames(one: Release, pictures: Album, count: int) -> Frames:
    spec = one.card.input
    return np.stack([album.picture(file, width=spec.width, height=spec.height) for file in pictures.files[:count]])


def _times(pair: tuple[Release, Release], pictures: Album) -> list[list[float]]:
    """Return seconds per run of both, by turns; sizes may differ, so each gets the picture in its own."""
    engines = [OnnxEngine(one.file) for one in pair]
    try:
        return latency.pairs(engines, [[prepare(_frames(one, pictures, 1), one.card.input)] for one in pair])
    finally:
        for engine in engines:
            engine.close()


def _side(one: Release, right: Flags, deferred: Flags, seconds: list[float], *, calibrated: bool) -> Side:
    kept = ~deferred
    return Side(
        name=str(one.file.parent),
        accuracy=float(right.mean()),
        deferred_share=float(deferred.mean()) if calibrated else None,
        kept_accuracy=float(right[kept].mean()) if kept.any() else None,
        bytes=one.file.stat().st_size,
        p50_ms=latency.middle(seconds),
    )
