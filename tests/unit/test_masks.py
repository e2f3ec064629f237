"""Segmentation maps: intersection over union, Dice and how sure a map looks, by hand and by their properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.vision.tasks.masks import (
    dice,
    intersection_over_union,
    mean_over_union,
    pixel_counts,
    pixel_probabilities,
    soft_dice_confidence,
)
from tests.examples import examples

MAPS = arrays.arrays(np.int64, (5, 6), elements=st.integers(0, 3))


def test_known_maps() -> None:
    counts = pixel_counts(np.array([[0, 1], [1, 2]]), np.array([[0, 0], [1, 2]]), classes=4)
    assert intersection_over_union(counts) == pytest.approx([0.5, 0.5, 1.0, np.nan], nan_ok=True)
    assert dice(counts) == pytest.approx([2 / 3, 2 / 3, 1.0, np.nan], nan_ok=True)
    assert mean_over_union(counts) == pytest.approx(2 / 3)
    assert mean_over_union(np.zeros((2, 2), np.int64)) == 0.0


@settings(max_examples=examples(50), deadline=None)
@given(MAPS, MAPS)
def test_dice_and_union_agree_and_equal_maps_are_perfect(one: np.ndarray, other: np.ndarray) -> None:
    counts = pixel_counts(one, other, classes=4)
    union = intersection_over_union(counts)
    assert counts.sum() == one.size
    assert dice(counts) == pytest.approx(2 * union / (1 + union), nan_ok=True)
    assert mean_over_union(pixel_counts(one, one, classes=4)) == 1.0


def test_probabilities_of_one_and_many_channels() -> None:
    single = pixel_probabilities(np.full((1, 1, 2, 2), 1000.0, np.float32))
    assert single.shape == (1, 2, 2, 2)
    assert single[0, 1].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    several = pixel_probabilities(np.random.default_rng(1).normal(0, 30, (2, 3, 4, 4)).astype(np.float32))
    assert several.sum(axis=1) == pytest.approx(np.ones((2, 4, 4)), abs=1e-5)


def test_a_clear_map_is_surer_than_a_blurred_one_and_an_empty_one_is_not_sure_by_itself() -> None:
    clear, blurred, empty, doubtful = (np.full((1, 2, 4, 4), 4.0, np.float32) for _ in range(4))
    for output, height in ((clear, 8.0), (blurred, 4.5), (empty, -8.0), (doubtful, 3.9)):
        output[0, 1] = -8.0
        output[0, 1, :2] = height
    values = [float(soft_dice_confidence(pixel_probabilities(one))[0]) for one in (clear, blurred, empty, doubtful)]
    assert values[0] > 0.97
    assert values[0] > values[1] > 0.5
    assert values[2] > 0.99
    assert values[3] == pytest.approx(1 / (1 + np.exp(-0.1)), abs=1e-5)
