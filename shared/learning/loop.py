"""The training loop: Adam, cosine rate, replay, the expert's soft labels. Deterministic by seed on one machine and thread count.

Here: one function that trains a model in place. Not here: architectures, what is done with the model afterwards.

A batch is `1 - replay_share` new samples and `replay_share` replayed ones, so that what was known is not forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import torch
from torch import nn

from shared.learning.losses import combined
from shared.learning.samples import Augmentation, Frames, Logits, Random, Samples, augmented, cropped

Progress = Callable[[int, int, float], None]
"""Called with the step just done, the number of steps and the step's loss."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How to train. `rate` is Adam's highest rate; it rises over `warmup` of the steps and falls along a cosine to 0.

    `keep_statistics` freezes the batch-norm statistics, for training on few pictures of one camera. `crop_px` above 0 trains on
    squares of that side around the samples' spots: the first half of a training from scratch.
    """

    steps: int
    batch: int = 64
    rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 1e-4
    temperature: float = 2.0
    soft_weight: float = 1.0
    replay_share: float = 0.5
    augmentation: Augmentation = Augmentation()
    keep_statistics: bool = False
    crop_px: int = 0
    seed: int = 0
    threads: int = 1


def train(
    model: nn.Module, samples: Samples, recipe: Recipe, *, replay: Samples | None = None, progress: Progress | None = None
) -> list[float]:
    """Train a model in place and leave it in evaluation mode.

    Args:
        model: a network from architectures.
        samples: what is new.
        recipe: how.
        replay: what must not be forgotten; None trains on `samples` alone.
        progress: told after every step.

    Returns:
        The loss of every step.
    """
    torch.set_num_threads(recipe.threads)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return _run(model, _batches(samples, replay, recipe), recipe, progress)


def _run(model: nn.Module, batches: Iterator[Samples], recipe: Recipe, progress: Progress | None) -> list[float]:
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub misses this keyword
    model.train()
    if recipe.keep_statistics:
        _freeze(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
    losses: list[float] = []
    for step, batch in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, recipe)
        losses.append(_step(model, optimiser, batch, recipe))
        if progress is not None:
            progress(step + 1, recipe.steps, losses[-1])
    model.eval()
    return losses


def _step(model: nn.Module, optimiser: torch.optim.Optimizer, batch: Samples, recipe: Recipe) -> float:
    optimiser.zero_grad(set_to_none=True)
    expert = None if batch.logits is None else torch.from_numpy(batch.logits)
    loss = combined(
        model(tensor(batch.frames)),
        torch.from_numpy(batch.labels),
        expert,
        temperature=recipe.temperature,
        soft_weight=recipe.soft_weight,
    )
    loss.backward()  # type: ignore[no-untyped-call]  # torch's own stub
    optimiser.step()
    return float(loss.detach())


def rate_at(step: int, recipe: Recipe) -> float:
    """Return the learning rate of a step: a linear rise, then a cosine down to 0 (Loshchilov & Hutter 2017)."""
    rise = max(1, int(recipe.steps * recipe.warmup))
    if step < rise:
        return recipe.rate * (step + 1) / rise
    return recipe.rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, recipe.steps - rise)))


def _batches(samples: Samples, replay: Samples | None, recipe: Recipe) -> Iterator[Samples]:
    random = np.random.default_rng(recipe.seed)
    old = 0 if replay is None else round(recipe.batch * recipe.replay_share)
    fresh_order, old_order = _order(len(samples), random), _order(0 if replay is None else len(replay), random)
    for _ in range(recipe.steps):
        batch = samples.taken(_next(fresh_order, recipe.batch - old))
        if replay is not None and old:
            batch = _joined(batch, replay.taken(_next(old_order, old)))
        frames = cropped(batch, recipe.crop_px, random) if recipe.crop_px else batch.frames
        yield Samples(frames=augmented(frames, recipe.augmentation, random), labels=batch.labels, logits=batch.logits)


def _order(count: int, random: Random) -> Iterator[int]:
    """Yield indices for ever, every one once per pass, each pass in a new order."""
    while count:
        yield from (int(index) for index in random.permutation(count))


def _next(order: Iterator[int], count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    return np.fromiter((next(order) for _ in range(count)), np.intp, count)


def _joined(first: Samples, second: Samples) -> Samples:
    """Return both; the expert's logits and the spots are kept where both have them."""
    return Samples(
        frames=np.concatenate([first.frames, second.frames]),
        labels=np.concatenate([first.labels, second.labels]),
        logits=None if first.logits is None or second.logits is None else np.concatenate([first.logits, second.logits]),
        spots=None if first.spots is None or second.spots is None else np.concatenate([first.spots, second.spots]),
    )


def _freeze(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def tensor(frames: Frames) -> torch.Tensor:
    """Return frames uint8 (N, H, W, 3) as float32 (N, 3, H, W) in 0..1, as a card's default InputSpec says."""
    planes = torch.from_numpy(np.require(frames, requirements=["C", "W"])).permute(0, 3, 1, 2)
    return planes.to(torch.float32).div_(255.0).contiguous(memory_format=torch.channels_last)


def predict(model: nn.Module, frames: Frames, *, batch: int = 256) -> Logits:
    """Return the model's logits float32 (N, C) for frames uint8 (N, H, W, 3)."""
    model.eval()
    with torch.inference_mode():
        parts = [model(tensor(frames[start : start + batch])).numpy() for start in range(0, len(frames), batch)]
    return np.concatenate(parts).astype(np.float32)


def accuracy(logits: Logits, labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> float:
    """Return the share of rows whose highest logit is the label."""
    return float((logits.argmax(axis=1) == labels).mean())
