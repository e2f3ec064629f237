"""Maps as outlines: they enclose exactly the pixels of a class, and never grow without bound."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from region.outlines import MOST_PIECES, outlines

maps = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(0, 3)))


def filled(path: str, height: int, width: int) -> np.ndarray:
    """Return the pixels that path data encloses: walking along a row, every upright border changes sides (even-odd rule)."""
    crossings = np.zeros((height, width + 1), np.int64)
    for x, start, end in re.findall(r"M(\d+) (\d+)V(\d+)", path):
        crossings[int(start) : int(end), int(x)] += 1
    return np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1


@given(maps)
def test_outlines_enclose_the_pixels_of_each_class_and_no_others(classes: np.ndarray) -> None:
    found = outlines(classes)
    assert (found.height, found.width) == classes.shape
    assert set(found.paths) == set(np.unique(classes).tolist()) - {0}
    for label, path in found.paths.items():
        assert np.array_equal(filled(path, *classes.shape), classes == label)
        upright, level = re.findall(r"V", path), re.findall(r"H", path)
        assert len(upright) >= 2 <= len(level)


def test_a_map_of_noise_is_made_coarser_until_its_outlines_are_short() -> None:
    found = outlines(np.random.default_rng(0).integers(0, 2, (640, 640)))
    assert found.width < 640
    assert sum(path.count("M") for path in found.paths.values()) <= MOST_PIECES
