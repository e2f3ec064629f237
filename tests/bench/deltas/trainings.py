"""Real updates of a network: one base and four ways to go on from it, each kept in TERRACE_CACHE as a step.

Fashion-MNIST at 32 pixels (`TERRACE_DATA`). Site 0 sees it as it is, site 1 dark and noisy; the base is trained on site 0, the updates on
both. Short schedules: what is measured is the size of updates, not accuracy, which is printed so that nobody takes it for more.

    head    40 steps of Adam on the last layer alone
    round   three clients of 10 steps of SGD each, averaged; batch norm's statistics stay
    low     20 steps of SGD at a low rate
    long    80 steps of Adam, batch norm training too: nearly every weight moves
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cloud.foundry.export import to_onnx
from cloud.foundry.workbench import Workbench
from provisioning.datasets import data_folder
from shared.learning.samples import Frames
from tests.bench.deltas.networks import NETWORKS

SIDE = 32
CLASSES = 10
BATCH = 32
BASE_STEPS = {"mobilenet-2m": 600, "resnet-11m": 80}
PICTURES = 6000
SAVE_EVERY = 40
PAIRS = ("head", "round", "low", "long")
CLIENTS = 3
_KEY = b"1"
"""Raised when a schedule changes."""

Stepper = Callable[[nn.Module], nn.Module]


class Site:
    """Pictures of one place, uint8 (N, 32, 32, 3), and their classes.

    Args:
        number: 0 as recorded, 1 dark and noisy.
        train: from the training list, else from the test list.
    """

    def __init__(self, number: int, *, train: bool) -> None:
        which = "train" if train else "test"
        with np.load(data_folder() / "fashion_mnist_28.npz", allow_pickle=False) as archive:
            raw, labels = archive[f"{which}_image"], archive[f"{which}_label"]
        rng = np.random.default_rng(number + 10 * train)
        raw, labels = raw[:PICTURES], labels[:PICTURES]
        grey = np.pad(raw.astype(np.float32), ((0, 0), (2, 2), (2, 2)))
        if number:
            grey = 0.5 * grey + rng.normal(20, 12, grey.shape)
        self.frames: Frames = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=3)
        self.labels = torch.from_numpy(labels.astype(np.int64))

    def batch(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a random batch, pictures in 0..1."""
        chosen = rng.integers(0, len(self.labels), BATCH)
        return _pictures(self.frames[chosen]), self.labels[torch.from_numpy(chosen)]


def _pictures(frames: Frames) -> torch.Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255


class Trainings:
    """The base and the updates of one network.

    Args:
        name: of NETWORKS.
        bench: keeps them.
    """

    def __init__(self, name: str, bench: Workbench) -> None:
        self.name = name
        self._bench = bench

    def base(self) -> Path:
        """Return the folder with the base: `fp32.onnx`, `weights.pt`, `accuracy.txt`."""
        return self._step("base", self._train_base)

    def updated(self, pair: str) -> Path:
        """Return the folder with the base after one of PAIRS."""
        torch.set_num_threads(1)
        return self._step(pair, lambda model, _: _UPDATES[pair](model))

    def _step(self, what: str, train: Callable[[nn.Module, Path], nn.Module]) -> Path:
        def make(folder: Path) -> None:
            torch.manual_seed(7)
            torch.set_num_threads(1)
            model = NETWORKS[self.name](CLASSES)
            if what != "base":
                model.load_state_dict(torch.load(self.base() / "weights.pt", weights_only=True))
            model = train(model, folder)
            (folder / "fp32.onnx").write_bytes(to_onnx(model, side=SIDE))
            torch.save(model.state_dict(), folder / "weights.pt")
            (folder / "accuracy.txt").write_text(" ".join(f"{_accuracy(model, number):.4f}" for number in (0, 1)))
            self._bench.say(f"{self.name} {what}: trained")

        return self._bench.resumed(f"bench-delta-{self.name}-{what}", f"{self.name} {what}".encode() + _KEY, make)

    def _train_base(self, model: nn.Module, folder: Path) -> nn.Module:
        """Train from nothing; a killed run goes on at the last SAVE_EVERY steps."""
        steps, saved = BASE_STEPS[self.name], folder / "resume.pt"
        chosen = torch.optim.Adam(model.parameters(), lr=1e-3)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(chosen, steps)
        parts = {"model": model, "chosen": chosen, "falling": falling}
        done = 0
        if saved.exists():
            state = torch.load(saved, weights_only=True)
            for name, part in parts.items():
                part.load_state_dict(state[name])
            done = int(state["done"])
        while done < steps:
            _train(model.train(), chosen, [Site(0, train=True)], SAVE_EVERY, seed=done, after=falling.step)
            done += SAVE_EVERY
            torch.save({"done": done, **{name: part.state_dict() for name, part in parts.items()}}, saved.with_suffix(".part"))
            saved.with_suffix(".part").replace(saved)
            self._bench.say(f"{self.name}: {done} of {steps} steps")
        return model


def _train(
    model: nn.Module, chosen: torch.optim.Optimizer, sites: list[Site], steps: int, *, seed: int, after: Callable[[], None] = lambda: None
) -> nn.Module:
    rng = np.random.default_rng(seed)
    for step in range(steps):
        pictures, labels = sites[step % len(sites)].batch(rng)
        chosen.zero_grad()
        nn.functional.cross_entropy(model(pictures), labels).backward()
        chosen.step()
        after()
    return model


def _both() -> list[Site]:
    return [Site(number, train=True) for number in (0, 1)]


def _sgd(parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=rate, momentum=0.9)


def _head(model: nn.Module) -> nn.Module:
    model.features.requires_grad_(requires_grad=False)
    return _train(model.eval(), torch.optim.Adam(model.head.parameters(), lr=1e-3), _both(), 40, seed=1)


def _low(model: nn.Module) -> nn.Module:
    return _train(model.eval(), _sgd(model.parameters(), 2e-3), _both(), 20, seed=2)


def _long(model: nn.Module) -> nn.Module:
    return _train(model.train(), torch.optim.Adam(model.parameters(), lr=3e-4), _both(), 80, seed=3)


def _round(model: nn.Module) -> nn.Module:
    found = [
        _train(client := copy.deepcopy(model).eval(), _sgd(client.parameters(), 2e-3), _both(), 10, seed=20 + k) for k in range(CLIENTS)
    ]
    states = [client.state_dict() for client in found]
    mean = {
        key: torch.stack([state[key] for state in states]).mean(0) if value.is_floating_point() else value
        for key, value in states[0].items()
    }
    model.load_state_dict(mean)
    return model.eval()


_UPDATES: dict[str, Stepper] = {"head": _head, "round": _round, "low": _low, "long": _long}


@torch.no_grad()
def _accuracy(model: nn.Module, number: int) -> float:
    site = Site(number, train=False)
    shown = slice(0, 2000)
    frames = site.frames[shown]
    said = torch.cat([model.eval()(_pictures(frames[at : at + 250])).argmax(1) for at in range(0, len(frames), 250)])
    return float((said == site.labels[shown]).float().mean())
