"""Learning: the same seed gives the same weights, the expert's answers teach, and what does not fit is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from shared.errors import FederationError, InputError
from shared.learning import architectures, arrays
from shared.learning.loop import Recipe, accuracy, predict, rate_at, train
from shared.learning.losses import UNLABELLED, combined, distillation
from shared.learning.samples import Augmentation, Samples, augmented, check, cropped
from tests.squares import colours

STILL = Augmentation(mirror=False, upside_down=False, quarter_turns=False, shift_px=0)


def test_the_student_is_wide_from_the_first_layer_in_multiples_of_16() -> None:
    convolutions = [one for one in architectures.student(7).modules() if isinstance(one, torch.nn.Conv2d)]
    assert all(one.out_channels % 16 == 0 and one.out_channels >= 32 and one.groups == 1 and one.bias is None for one in convolutions)
    assert 80_000 < architectures.parameter_count(architectures.student(7)) < 150_000
    assert 300_000 < architectures.parameter_count(architectures.expert(7)) < 1_000_000
    for side in (28, 96):
        assert architectures.student(5, side=side)(torch.zeros(2, 3, side, side)).shape == (2, 5)
        assert architectures.expert(5, side=side).eval()(torch.zeros(2, 3, side, side)).shape == (2, 5)
    with pytest.raises(InputError, match="no model family"):
        architectures.build("oracle", 2, side=96, seed=0)


def test_training_learns_and_repeats_itself_bit_for_bit() -> None:
    results = []
    for _ in range(2):
        torch.rand(3)  # torch's global random state must not matter
        model = architectures.student(3, side=24, seed=1)
        losses = train(model, colours(256), Recipe(steps=40, rate=3e-3, seed=5))
        results.append((losses, arrays.to_arrays(model)))
    assert results[0][0] == results[1][0]
    assert all(np.array_equal(results[0][1][name], results[1][1][name]) for name in results[0][1])
    test = colours(100, seed=9)
    assert accuracy(predict(model, test.frames), test.labels) > 0.9
    other = train(architectures.student(3, side=24, seed=1), colours(256), Recipe(steps=3, rate=3e-3, seed=6))
    assert other != results[0][0][:3]


def test_the_experts_answers_teach_without_any_label() -> None:
    samples = colours(256)
    logits = np.full((256, 3), -4.0, np.float32)
    logits[np.arange(256), samples.labels] = 4.0
    blind = Samples(frames=samples.frames, labels=np.full(256, UNLABELLED), logits=logits)
    model = architectures.student(3, side=24, seed=1)
    seen = []
    train(model, blind, Recipe(steps=40, rate=3e-3), progress=lambda step, steps, _: seen.append((step, steps)))
    assert seen[0] == (1, 40)
    assert seen[-1] == (40, 40)
    test = colours(100, seed=9)
    assert accuracy(predict(model, test.frames), test.labels) > 0.9


def test_replay_keeps_what_was_known() -> None:
    """New pictures of one class only: without replay the student forgets the others."""
    base = architectures.student(3, side=24, seed=1)
    train(base, colours(256), Recipe(steps=40, rate=3e-3))
    known, test = arrays.to_arrays(base), colours(150, seed=9)
    fresh = colours(256, seed=3)
    fresh = fresh.taken(np.flatnonzero(fresh.labels == 0))
    kept = []
    for replay in (None, colours(128, seed=4)):
        model = architectures.student(3, side=24)
        arrays.from_arrays(model, known)
        train(model, fresh, Recipe(steps=25, rate=3e-3), replay=replay)
        kept.append(accuracy(predict(model, test.frames), test.labels))
    assert kept[1] > 0.9
    assert kept[1] > kept[0] + 0.2


def test_frozen_statistics_stay_and_parameters_move() -> None:
    model = architectures.student(3, side=24)
    before = arrays.to_arrays(model)
    train(model, colours(64), Recipe(steps=2, keep_statistics=True))
    after = arrays.to_arrays(model)
    assert all(np.array_equal(before[name], after[name]) for name in arrays.statistics(before))
    assert any(not np.array_equal(before[name], after[name]) for name in arrays.parameters(before))
    assert set(arrays.statistics(before)) | set(arrays.parameters(before)) == set(before)


def test_weights_survive_a_file_and_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    model, other = architectures.student(3, seed=1), architectures.student(3, seed=2)
    arrays.save(tmp_path / "w.npz", arrays.to_arrays(model))
    first = (tmp_path / "w.npz").read_bytes()
    arrays.from_arrays(other, arrays.load(tmp_path / "w.npz"))
    assert all(np.array_equal(value, arrays.to_arrays(model)[name]) for name, value in arrays.to_arrays(other).items())
    arrays.save(tmp_path / "w.npz", arrays.to_arrays(other))
    assert (tmp_path / "w.npz").read_bytes() == first, "the bytes depend on the arrays alone"
    good = arrays.to_arrays(model)
    name = next(iter(good))
    for spoiled in (
        {key: value for key, value in good.items() if key != name},
        {**good, "foreign": good[name]},
        {**good, name: good[name][:1]},
        {**good, name: good[name] * np.nan},
    ):
        with pytest.raises(FederationError):
            arrays.from_arrays(other, spoiled)
    (tmp_path / "w.npz").write_bytes(first[:100])
    with pytest.raises(InputError, match="cannot be read"):
        arrays.load(tmp_path / "w.npz")


def test_the_loss_is_cross_entropy_divergence_or_both() -> None:
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, UNLABELLED])
    expert = logits.clone()
    assert float(distillation(logits, expert, 2.0)) == pytest.approx(0.0, abs=1e-6)
    hard = float(combined(logits, labels, None, temperature=2.0, soft_weight=0.5))
    assert hard == pytest.approx(float(torch.nn.functional.cross_entropy(logits[:1], labels[:1])))
    assert float(combined(logits, labels, expert, temperature=2.0, soft_weight=0.5)) == pytest.approx(0.5 * hard, rel=1e-5)
    unlabelled = torch.tensor([UNLABELLED, UNLABELLED])
    assert torch.isfinite(combined(logits, unlabelled, expert, temperature=2.0, soft_weight=0.5))


def test_the_rate_rises_and_falls_to_nothing() -> None:
    recipe = Recipe(steps=100, rate=1.0, warmup=0.1)
    rates = [rate_at(step, recipe) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.0, abs=1e-9)


def test_variation_keeps_the_picture_and_crops_keep_the_spot() -> None:
    samples, random = colours(64), np.random.default_rng(0)
    assert np.array_equal(augmented(samples.frames, STILL, random), samples.frames)
    turned = augmented(samples.frames, Augmentation(shift_px=0), random)
    assert np.array_equal(np.sort(turned.reshape(64, -1)), np.sort(samples.frames.reshape(64, -1)))
    assert not np.array_equal(turned, samples.frames)
    close = cropped(samples, 16, random)
    assert close.shape == (64, 16, 16, 3)
    bright = np.array([close[index, ..., label].max() > 150 for index, label in enumerate(samples.labels)])
    assert bright.all()
    lit = augmented(samples.frames, Augmentation(shift_px=0, light=0.3), random)
    assert lit.mean(axis=(1, 2, 3)).std() > samples.frames.mean(axis=(1, 2, 3)).std() * 2


@pytest.mark.parametrize(
    "samples",
    [
        Samples(frames=np.zeros((0, 8, 8, 3), np.uint8), labels=np.zeros(0, np.int64)),
        Samples(frames=np.zeros((2, 8, 8), np.uint8), labels=np.zeros(2, np.int64)),
        Samples(frames=np.zeros((2, 8, 8, 3), np.uint8), labels=np.array([0, 3])),
    ],
)
def test_samples_that_cannot_teach_are_refused(samples: Samples) -> None:
    with pytest.raises(InputError):
        check(samples, 3)
