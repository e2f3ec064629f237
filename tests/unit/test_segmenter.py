"""Segmenter: finds small blocks pixel by pixel after a few steps; the losses are what their papers say."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.foundry.export import INPUT, to_onnx
from shared.errors import InputError
from shared.learning import course, maskloss, segmenter
from shared.learning.loop import Recipe, tensor
from shared.learning.masked import Masked, check, varied
from shared.vision.tasks.masks import mean_over_union, pixel_counts
from tests.plates import plates

TINY = (16, 16, 16)


def outlined(count: int, seed: int = 0) -> Masked:
    """Blocks with the class of each of their pixels: 1 bright, 2 dark."""
    scenes = plates(count, side=48, seed=seed, blocks=1)
    masks = np.zeros(scenes.frames.shape[:3], np.uint8)
    for box, kind, picture in zip(scenes.boxes.astype(int), scenes.classes, scenes.pictures, strict=True):
        masks[picture, box[1] : box[3], box[0] : box[2]] = kind + 1
    return Masked(frames=np.repeat(scenes.frames, 3, axis=3), masks=masks)


def test_it_learns_what_every_pixel_shows_and_the_exported_graph_says_the_same(tmp_path: Path) -> None:
    samples = outlined(32)
    torch.manual_seed(1)
    model = segmenter.Segmenter(3, TINY)

    def loss_of(step: int) -> torch.Tensor:
        batch = varied(samples, count=8, turning=True, random=np.random.default_rng([1, step]))
        return maskloss.loss(model(tensor(batch.frames)), torch.from_numpy(batch.masks.astype(np.int64)))

    course.run(model, loss_of, Recipe(steps=40, rate=1e-2), state=tmp_path / "state")
    fresh = outlined(12, seed=5)
    pictures = tensor(fresh.frames)
    with torch.inference_mode():
        logits = model(pictures).numpy()
    assert mean_over_union(pixel_counts(logits.argmax(axis=1), fresh.masks, classes=3)) > 0.8
    (tmp_path / "model.onnx").write_bytes(to_onnx(model, side=48))
    found = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, {INPUT: pictures.contiguous().numpy()})[0]
    np.testing.assert_allclose(found, logits, atol=1e-3)


def test_families_are_made_for_int8() -> None:
    for family in segmenter.FAMILIES:
        model = segmenter.build(family, 7, seed=0)
        assert all(one.out_channels % 16 == 0 for one in model.modules() if isinstance(one, torch.nn.Conv2d) and one.bias is None)
        assert model.eval()(torch.zeros(1, 3, 32, 48)).shape == (1, 7, 32, 48)
    with pytest.raises(InputError, match="no segmenter family"):
        segmenter.build("oracle", 7, seed=0)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), turning=st.booleans())
def test_a_mask_turns_with_its_picture(seed: int, turning: bool) -> None:
    batch = varied(outlined(4), count=5, turning=turning, random=np.random.default_rng(seed))
    for frame, mask in zip(batch.frames[..., 0], batch.masks, strict=True):
        assert (frame[mask == 1] == 240).all()
        assert (frame[mask == 2] == 20).all()
        assert ((frame >= 100) & (frame < 140))[mask == 0].all()


def test_sure_and_right_costs_nothing_and_a_class_that_is_absent_asks_for_nothing() -> None:
    masks = torch.tensor([[[0, 0], [1, 1]]])
    right = torch.nn.functional.one_hot(masks, 3).permute(0, 3, 1, 2).float() * 40 - 20
    assert float(maskloss.loss(right, masks)) == pytest.approx(0, abs=1e-4)
    assert float(maskloss.dice(-right, masks)) > 0.5
    assert float(maskloss.dice(right, torch.zeros_like(masks))) == 0
    half = torch.zeros(1, 2, 1, 1)
    assert float(maskloss.focal(half, torch.zeros(1, 1, 1, dtype=torch.int64))) == pytest.approx(0.25 * np.log(2) / 1.25)


def test_what_cannot_be_learned_from_is_refused() -> None:
    samples = outlined(2)
    check(samples, 3)
    with pytest.raises(InputError, match="class 2 of 2" if samples.masks.max() == 2 else "class 1 of 1"):
        check(samples, int(samples.masks.max()))
    with pytest.raises(InputError, match="masks have the shape"):
        check(Masked(frames=samples.frames, masks=samples.masks[:1]), 3)
    with pytest.raises(InputError, match="pictures have the shape"):
        check(Masked(frames=samples.frames[..., :1], masks=samples.masks), 3)
