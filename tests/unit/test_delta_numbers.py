"""Floats as ordered integers, and float arithmetic in integers: exactly what IEEE says, for every bit pattern that is a number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.release.delta import numbers
from tests.examples import examples

TYPES = {numbers.FLOAT32: np.float32, numbers.FLOAT16: np.float16, numbers.INT8: np.int8, numbers.UINT8: np.uint8, numbers.INT32: np.int32}


@pytest.mark.parametrize("data_type", [*TYPES, numbers.BFLOAT16, 99])
@given(data=st.binary(min_size=4, max_size=64))
@settings(max_examples=examples(60), deadline=None)
def test_every_bit_pattern_comes_back(data_type: int, data: bytes) -> None:
    kind = numbers.kind_of(data_type, len(data))
    assert numbers.packed(numbers.ordered(data, kind), kind) == data


@pytest.mark.parametrize("data_type", [numbers.FLOAT32, numbers.FLOAT16])
def test_the_order_is_that_of_the_numbers(data_type: int) -> None:
    values = np.sort(np.concatenate([[0.0, -0.0, 1.0, -1.0, 65504, -65504], np.random.default_rng(0).normal(0, 10, 500)])).astype(
        TYPES[data_type]
    )
    kind = numbers.kind_of(data_type, values.nbytes)
    order = numbers.ordered(values.tobytes(), kind)
    assert (np.diff(order.astype(np.int64)[np.diff(values, prepend=values[0] - 1) > 0]) > 0).all()
    assert numbers.ordered(TYPES[data_type](-0.0).tobytes() * 2, kind)[0] == -1


@given(arrays.arrays(np.float32, 8, elements=st.floats(2.0**-60, 2.0**60, width=32)), st.floats(2.0**-60, 2.0**60, width=32))
@settings(max_examples=examples(200), deadline=None)
def test_products_are_those_of_ieee(right: np.ndarray[tuple[int, ...], np.dtype[np.float32]], left: float) -> None:
    expected = (np.float32(left) * right).astype("<f4").tobytes()
    assert numbers.products(np.float32(left).tobytes(), right.tobytes()) == expected


@given(
    arrays.arrays(np.float32, 8, elements=st.floats(0.125, 8.0, width=32)),
    arrays.arrays(np.float32, 8, elements=st.floats(0.125, 8.0, width=32)),
)
@settings(max_examples=examples(200), deadline=None)
def test_ratios_are_near(
    above: np.ndarray[tuple[int, ...], np.dtype[np.float32]], below: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> None:
    assert numbers.quotients(above.tobytes(), below.tobytes()) == pytest.approx(above.astype(float) / below * 2**20, rel=2e-5, abs=1)


def test_what_is_no_positive_number_is_left_alone() -> None:
    odd = np.array([0.0, -1.0, np.inf, np.nan, 1e-45, 3e38], np.float32)
    assert (numbers.quotients(odd[:5].tobytes(), np.ones(5, np.float32).tobytes()) == 1 << 20).all()
    assert numbers.products(np.float32(2e38).tobytes(), odd.tobytes()) == odd.tobytes()
