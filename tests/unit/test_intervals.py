"""Intervals count units: frames of one board are one piece of evidence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.testbed.intervals import Estimate, difference, estimate


def test_no_frame_is_zero_everywhere() -> None:
    assert estimate([], []) == Estimate()


def test_frames_of_one_unit_are_no_independent_evidence() -> None:
    right = [1.0, 0.0] * 50
    alone = estimate(right, [f"{index}" for index in range(100)])
    boards = estimate([1.0] * 50 + [0.0] * 50, [f"{index // 10}" for index in range(100)])
    assert alone.value == boards.value == pytest.approx(0.5)
    assert boards.high - boards.low > 2 * (alone.high - alone.low)


def test_a_difference_on_the_same_frames_is_sharper_than_two_intervals() -> None:
    draw = np.random.default_rng(3)
    first = (draw.random(400) < 0.8).tolist()
    second = [one and draw.random() < 0.97 for one in first]
    units = [f"{index // 4}" for index in range(400)]
    gain = difference(first, second, units)
    assert 0 < gain.low < gain.value < gain.high
    assert gain.high - gain.low < estimate(first, units).high - estimate(first, units).low


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=60))
def test_the_value_lies_in_its_interval_or_the_sample_is_a_few_units(rows: list[tuple[bool, int]]) -> None:
    found = estimate([float(right) for right, _ in rows], [str(unit) for _, unit in rows])
    assert 0 <= found.low <= found.high <= 1
    assert found.units == len({unit for _, unit in rows})
    assert estimate([float(right) for right, _ in rows], [str(unit) for _, unit in rows]) == found
