"""The sum of updates against numpy, and the rules of who counts how much, on many drawn examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.federation import checks
from cloud.federation.aggregation import Accumulator
from cloud.federation.checks import Contribution
from tests.examples import examples

MODEL = {
    "conv.weight": np.zeros((4, 3, 3, 3), np.float32),
    "bn.running_mean": np.zeros(4, np.float32),
    "bn.running_var": np.ones(4, np.float32),
    "bn.num_batches_tracked": np.array(5, np.int64),
}


def update(seed: int) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    random = np.random.default_rng(seed)
    return {
        "conv.weight": random.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "bn.running_mean": random.normal(size=4).astype(np.float32),
        "bn.running_var": random.uniform(0.5, 2, 4).astype(np.float32),
        "bn.num_batches_tracked": np.array(seed, np.int64),
    }


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=8))
@settings(max_examples=examples(40), deadline=None)
def test_the_sum_is_the_weighted_mean_and_pools_the_moments(examples: list[int]) -> None:
    parts = checks.weights(examples)
    updates = [update(index) for index in range(len(examples))]
    total = Accumulator(MODEL)
    for item, weight in zip(updates, parts, strict=True):
        total.add(item, weight)
    result = total.result()
    wanted = sum(w * u["conv.weight"].astype(np.float64) for w, u in zip(parts, updates, strict=True))
    np.testing.assert_allclose(result["conv.weight"], wanted, rtol=1e-6, atol=1e-7)
    mean = sum(w * u["bn.running_mean"].astype(np.float64) for w, u in zip(parts, updates, strict=True))
    second = sum(w * (u["bn.running_var"] + u["bn.running_mean"].astype(np.float64) ** 2) for w, u in zip(parts, updates, strict=True))
    np.testing.assert_allclose(result["bn.running_var"], second - mean**2, rtol=1e-5, atol=1e-6)
    assert result["bn.num_batches_tracked"] == 5
    assert result["conv.weight"].dtype == np.float32


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=12))
@settings(max_examples=examples(100), deadline=None)
def test_no_region_weighs_more_than_twice_the_median(examples: list[int]) -> None:
    parts = checks.weights(examples)
    assert sum(parts) == pytest.approx(1.0)
    capped = [min(count, 2 * float(np.median(examples))) for count in examples]
    np.testing.assert_allclose(parts, np.array(capped) / sum(capped))


def test_one_update_far_from_the_others_is_pointed_out() -> None:
    found = [Contribution(region=f"r{index}", norm=norm) for index, norm in enumerate([1.0, 1.2, 0.9, 30.0])]
    assert checks.unlike(found) == {"r3"}
    assert checks.unlike(found[2:]) == set()


@pytest.mark.parametrize(("examples", "steps"), [(9, 20), (100, 1), (True, 20), (-5, 20), (2.5, 20), ("9", 20), ([1], 20)])
def test_counts_that_are_no_counts_or_too_small_are_refused(examples: object, steps: object) -> None:
    assert checks.too_little(examples, steps, minimum_cases=10, minimum_steps=2)


def test_statistics_are_left_out_of_the_norm() -> None:
    changed = {**MODEL, "bn.running_mean": np.full(4, 100, np.float32)}
    assert checks.change_norm(changed, MODEL) == 0.0
    assert checks.change_norm({**MODEL, "conv.weight": np.ones((4, 3, 3, 3), np.float32)}, MODEL) == pytest.approx(108**0.5)
