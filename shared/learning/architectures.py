"""The two networks: a student made for INT8 on small devices, and an expert for the region's server.

The student is plain 3x3 convolutions, wide from the first layer and in multiples of 16 channels, because the INT8 kernels work on
blocks of channels: narrow or depthwise nets are slower in INT8 than in FP32. Batch norm follows each convolution and folds into it.
Global maximum pooling, because a fault is a few pixels of many: one place that lights up is enough. The expert has skip connections.
Input is float32 NCHW in 0..1 (`value / 255`), so that the INT8 input scale is exact.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import nn

from shared.errors import InputError

STUDENT_WIDTHS = (32, 48, 64, 64, 64)
STUDENT_STRIDES = (2, 2, 2, 1, 1)
EXPERT_WIDTHS = (48, 96, 128)
SMALL_SIDE_PX = 48
"""Pictures with a shorter side keep more resolution in the first layers."""


def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Return a 3x3 convolution, its batch norm and a ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Student(nn.Module):
    """Five plain convolutions, global maximum pooling, one linear layer; about 0.11 M parameters."""

    def __init__(self, classes: int, *, side: int = 96) -> None:
        super().__init__()
        strides = STUDENT_STRIDES if side >= SMALL_SIDE_PX else (1, 2, 2, 1, 1)
        widths = (3, *STUDENT_WIDTHS)
        self.features = nn.Sequential(*(block(a, b, s) for a, b, s in zip(widths, widths[1:], strides, strict=False)))
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for pictures (N, 3, H, W)."""
        logits: torch.Tensor = self.head(torch.flatten(self.pool(self.features(pictures)), 1))
        return logits


class Residual(nn.Module):
    """Two convolutions around a skip connection (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = block(width, width, 1)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape."""
        added: torch.Tensor = features + self.second(self.first(features))
        return torch.relu(added)


class Expert(nn.Module):
    """Three strided convolutions, then residual blocks at an eighth of the picture's side; about 0.5 M parameters."""

    def __init__(self, classes: int, *, side: int = 96) -> None:
        super().__init__()
        widths = EXPERT_WIDTHS
        stem = 2 if side >= SMALL_SIDE_PX else 1
        layers: list[nn.Module] = [block(3, widths[0], stem)]
        layers += [block(width, wider, 2) for width, wider in itertools.pairwise(widths)]
        layers.append(Residual(widths[-1]))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(widths[-1], classes))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) for pictures (N, 3, H, W)."""
        logits: torch.Tensor = self.head(torch.flatten(self.pool(self.features(pictures)), 1))
        return logits


FAMILIES: dict[str, Callable[..., nn.Module]] = {"student": Student, "expert": Expert}


def student(classes: int, *, side: int = 96, seed: int = 0) -> nn.Module:
    """Return a fresh student for `classes` classes and pictures of `side` pixels, its weights drawn from `seed`."""
    return build("student", classes, side=side, seed=seed)


def expert(classes: int, *, side: int = 96, seed: int = 0) -> nn.Module:
    """Return a fresh expert for `classes` classes and pictures of `side` pixels, its weights drawn from `seed`."""
    return build("expert", classes, side=side, seed=seed)


def build(family: str, classes: int, *, side: int, seed: int) -> nn.Module:
    """Return a fresh network of a model family without touching torch's global random state.

    Raises:
        InputError: there is no such family.
    """
    if family not in FAMILIES:
        raise InputError(f"there is no model family {family}.", f"Take one of: {', '.join(FAMILIES)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FAMILIES[family](classes, side=side)


def parameter_count(model: nn.Module) -> int:
    """Return how many trainable numbers a model has."""
    return sum(math.prod(parameter.shape) for parameter in model.parameters())
