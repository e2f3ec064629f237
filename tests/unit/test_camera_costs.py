"""The cost model of the pipeline bench: what 100 cameras need, and what of it nobody measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.hwprofile import shelf
from tests.bench.streams.costs import FrameCost, cores_for, most_cameras, row, runs_on_processor

COST = FrameCost(decode_us=400.0, look_us=100.0, prepare_us=50.0, run_us=400.0, decide_us=50.0)
PARTS = st.floats(1.0, 10_000.0)


def test_cores_are_cameras_times_frames_times_cost() -> None:
    assert cores_for(COST, cameras=100, fps=10.0, on_processor=True) == pytest.approx(1.0)
    assert cores_for(COST, cameras=100, fps=10.0, on_processor=False) == pytest.approx(0.6)
    assert most_cameras(COST, fps=10.0) == pytest.approx(200.0)


@given(PARTS, PARTS, PARTS, PARTS, PARTS, st.integers(1, 500), st.floats(1.0, 60.0))
def test_the_answering_thread_never_has_more_than_one_core(
    decode: float, look: float, prepare: float, run: float, decide: float, cameras: int, fps: float
) -> None:
    cost = FrameCost(decode_us=decode, look_us=look, prepare_us=prepare, run_us=run, decide_us=decide)
    whole = cores_for(cost, cameras=cameras, fps=fps, on_processor=True)
    assert whole >= cores_for(cost, cameras=cameras, fps=fps, on_processor=False)
    reading = cameras * fps * (decode + look) / 1e6
    answering = min(cameras, most_cameras(cost, fps=fps)) * fps * (prepare + run + decide) / 1e6
    assert answering <= 1.0 + 1e-9
    assert whole == pytest.approx(reading + cameras * fps * (prepare + run + decide) / 1e6)


def test_every_profile_has_a_line_that_says_what_was_measured() -> None:
    profiles = {one.name: one for one in shelf.every()}
    rows = {name: row(one, COST, fps=10.0, is_this_machine=name == "generic-x86") for name, one in profiles.items()}
    assert rows["generic-x86"]["costs"] == "measured"
    assert rows["generic-x86"]["cores_for_100_cameras"] == 1.0
    assert "nobody measured" in str(rows["raspberry-pi-5"]["costs"])
    assert not runs_on_processor(profiles["jetson-orin-nano"])
    assert rows["jetson-orin-nano"]["cores_for_100_cameras"] == 0.6
    assert "GPU" in str(rows["jetson-orin-nano"]["most_cameras_one_answering_thread"])
