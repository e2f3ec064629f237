"""Arithmetic on segmentation maps: classes of pixels, intersection over union, Dice, how sure a map looks. Numpy only.

A map has one class per pixel, 0 is the background. An output has one channel per class, logits, or a single channel whose sigmoid is the
probability of the one class that is no background. Not here: the message a map travels as (segmentation).

Example:
    >>> found, true = np.array([[0, 1], [1, 1]]), np.array([[0, 0], [1, 1]])
    >>> intersection_over_union(pixel_counts(found, true, classes=2)).round(3).tolist()
    [0.5, 0.667]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Output = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
"""float32, shape (N, classes, height, width), logits."""
Map = np.ndarray[tuple[int, ...], np.dtype[np.integer]]
"""Any integer, the class of each pixel."""
Counts = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
Values = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def pixel_probabilities(output: Output) -> Output:
    """Return the probability of each class for each pixel, float32 (N, classes, height, width); one channel becomes two."""
    if output.shape[1] == 1:
        likely = (1.0 / (1.0 + np.exp(-output.clip(-80, 80)))).astype(np.float32)
        return np.concatenate([1.0 - likely, likely], axis=1)
    weights = np.exp(output - output.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def pixel_counts(found: Map, true: Map, *, classes: int) -> Counts:
    """Count pixels by true and found class; both maps have the same shape, of any dimension.

    Returns:
        int64, shape (classes, classes): row is the truth, column what was found.
    """
    flat = np.bincount(true.reshape(-1).astype(np.int64) * classes + found.reshape(-1).astype(np.int64), minlength=classes * classes)
    return flat.reshape(classes, classes)


def intersection_over_union(counts: Counts) -> Values:
    """Return the intersection over union of each class of such counts, float64 of shape (classes); NaN for a class in neither map."""
    common = np.diagonal(counts).astype(np.float64)
    return _share(common, counts.sum(axis=0) + counts.sum(axis=1) - common)


def dice(counts: Counts) -> Values:
    """Return the Dice coefficient of each class, float64 of shape (classes); NaN for a class in neither map."""
    common = np.diagonal(counts).astype(np.float64)
    return _share(2 * common, (counts.sum(axis=0) + counts.sum(axis=1)).astype(np.float64))


def mean_over_union(counts: Counts) -> float:
    """Return the mean intersection over union of the classes that occur, 0 to 1; 0 where none does."""
    values = intersection_over_union(counts)
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0


def soft_dice_confidence(probabilities: Sequence[Output]) -> Values:
    """Return how well each map would score under its own probabilities: the expected Dice, the worst class that was found counts.

    Close to the best possible ranking by Dice (Borges et al., "Soft Dice Confidence", 2024). Where only background was found there is
    no Dice: then it is how unlikely the likeliest pixel of anything else is, since nothing found is not sure by itself.

    Args:
        probabilities: of `pixel_probabilities`, one (classes, height, width) for each of N frames.

    Returns:
        float64 of shape (N), 0 to 1, higher is surer.
    """
    return np.array([_confidence(one) for one in probabilities], np.float64)


def _confidence(probabilities: Output) -> float:
    found = probabilities.argmax(axis=0)
    present = [one for one in np.unique(found).tolist() if one]
    if not present:
        return 1.0 - float(probabilities[1:].max(initial=0.0))
    mine = [(float(probabilities[one][found == one].sum()), float(probabilities[one].sum()), int((found == one).sum())) for one in present]
    return min(2 * inside / (everywhere + pixels) for inside, everywhere, pixels in mine)


def _share(part: Values, whole: Values) -> Values:
    return np.asarray(np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0))
