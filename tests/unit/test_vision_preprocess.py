"""Pixels become network input the same way everywhere."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from shared.errors import InputError
from shared.release.card import InputSpec
from shared.vision.frames import Pixels
from shared.vision.preprocess import prepare, resize


def _frames(count: int = 3, height: int = 20, width: int = 30, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_scales_normalises_and_transposes() -> None:
    frames = _frames()
    spec = InputSpec(width=30, height=20, mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0))
    batch = prepare(frames, spec)
    expected = ((frames / 255.0 - spec.mean) / spec.std).transpose(0, 3, 1, 2)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    np.testing.assert_allclose(batch, expected, atol=1e-6)


def test_frames_of_the_right_size_are_not_resampled() -> None:
    frames = _frames()
    assert np.array_equal(np.rint(prepare(frames, InputSpec(width=30, height=20)) * 255).transpose(0, 2, 3, 1), frames)


@pytest.mark.parametrize(("height", "width"), [(10, 15), (7, 30), (40, 61), (20, 30), (1, 1)])
def test_resize_follows_pillows_triangle_filter(height: int, width: int) -> None:
    frames = _frames()
    ours = resize(frames, height=height, width=width)
    theirs = np.stack([np.asarray(Image.fromarray(f).resize((width, height), Image.Resampling.BILINEAR)) for f in frames])
    assert ours.shape == (3, height, width, 3)
    assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_a_flat_picture_stays_flat(value: int) -> None:
    flat = np.full((1, 33, 47, 3), value, np.uint8)
    assert (resize(flat, height=13, width=96) == value).all()


def test_resize_gives_the_recorded_bytes_on_every_machine() -> None:
    digest = hashlib.sha256(resize(_frames(seed=5), height=11, width=64).tobytes()).hexdigest()
    assert digest == "ee783e55fc40d416ac6a90e82b9a4b0707361f13b14183d097ca2f18a6ffb0f2"


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(InputError, match="uint8"):
        prepare(np.zeros((1, 4, 4, 3), np.float32), InputSpec(width=4, height=4))
    with pytest.raises(InputError, match="uint8"):
        prepare(np.zeros((1, 4, 4, 1), np.uint8), InputSpec(width=4, height=4))
    with pytest.raises(InputError, match="resized"):
        prepare(np.zeros((1, 0, 4, 3), np.uint8), InputSpec(width=4, height=4))
