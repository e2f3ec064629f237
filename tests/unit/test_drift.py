"""Drift of a site's optics: it grows with its strength, repeats itself by seed, and fits any data set's frames."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioning.drift import drifted, site
from shared.errors import InputError
from shared.learning.optics import rephotographed
from tests.squares import colours


def test_the_same_seed_gives_the_same_frames_whatever_follows_them() -> None:
    frames = colours(150).frames
    before = frames.copy()
    later = drifted(frames, strength=0.6, seed=3)
    assert np.array_equal(frames, before), "the frames given are left as they are"
    assert np.array_equal(drifted(frames[:70], strength=0.6, seed=3), later[:70])
    assert np.array_equal(drifted(frames[40:], strength=0.6, seed=3), later[40:]), "in whatever array a frame stands"
    assert not np.array_equal(drifted(frames, strength=0.6, seed=4), later)


def test_it_grows_with_its_strength_from_nothing() -> None:
    frames = colours(40).frames
    assert np.array_equal(drifted(frames, strength=0.0, seed=1), frames)
    changes = [np.abs(drifted(frames, strength=strength, seed=1).astype(int) - frames).mean() for strength in (0.1, 0.3, 0.6, 1.0)]
    assert changes == sorted(changes)
    assert changes[0] > 1


@settings(max_examples=20, deadline=None)
@given(height=st.integers(8, 130), width=st.integers(8, 130), strength=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_frames_of_any_size_keep_shape_and_type(height: int, width: int, strength: float, seed: int) -> None:
    frames = np.full((2, height, width, 3), 120, np.uint8)
    later = drifted(frames, strength=strength, seed=seed)
    assert later.shape == frames.shape
    assert later.dtype == np.uint8


def test_no_frames_and_unfit_input() -> None:
    assert drifted(np.empty((0, 28, 28, 3), np.uint8), strength=0.5, seed=1).shape == (0, 28, 28, 3)
    with pytest.raises(InputError, match="strength"):
        site(1.5, seed=1)
    with pytest.raises(InputError, match="the frames are"):
        drifted(np.zeros((2, 28, 28), np.uint8), strength=0.5, seed=1)


def test_the_optics_an_expert_is_trained_under_vary_a_share_of_the_pictures_each_in_its_own_way() -> None:
    frames = np.repeat(colours(1).frames, 400, axis=0)
    random = np.random.default_rng(5)
    varied = rephotographed(frames, 0.65, random)
    changed = (varied != frames).any(axis=(1, 2, 3))
    assert 0.55 < changed.mean() < 0.75
    assert len(np.unique(varied[changed].mean(axis=(1, 2, 3)))) > 200
    assert np.array_equal(rephotographed(frames, 0.0, random), frames)
    assert np.array_equal(rephotographed(frames, 0.65, np.random.default_rng(5)), varied)
