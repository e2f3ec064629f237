"""Networks that find things in pictures: anchor-free, one map at an eighth of the side, whole pictures whose sides are multiples of 32.

Made for INT8 as the classifiers are: plain 3x3 convolutions, channels in multiples of 16, batch norm that folds. Most weights lie where
the map is small (a sixteenth and a thirty-second of the side), so that a million of them cost little time; a narrow way back up brings
what they saw to the fine map. One map is enough where things are of 10 to 200 pixels: a cell says how far the four edges of its thing
lie (FCOS, Tian et al. 2019). Input is float32 NCHW in 0..1, as for the classifiers.

The exported output is the common one, (N, 4 + classes, cells): centre, width and height in pixels, then a probability per class. What is
computed last stays out of INT8 (see cloud/foundry/quantise): pixels and probabilities share no scale.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from shared.errors import InputError
from shared.learning.architectures import Residual, block

STRIDE_PX = 8
RARE = -4.6
"""Where the class scores begin: one in a hundred, so that the first steps do not drown in empty cells (Lin et al. 2017)."""

TYPICAL, FARTHEST = 0.7, 4.5
"""Logarithms of distances in strides: where they begin (two strides), and the most there can be (90)."""


class Widths(NamedTuple):
    """Channels per stage (a half to a thirty-second of the side), extra blocks in the two coarsest, and channels of the fine map."""

    stages: tuple[int, int, int, int, int]
    middle: int
    deep: int
    head: int


STUDENT = Widths((16, 48, 64, 128, 256), 1, 1, 64)
EXPERT = Widths((32, 64, 96, 192, 320), 2, 2, 96)


class Maps(NamedTuple):
    """What a detector says per cell: `distances` (N, 4, h, w) to left, top, right and bottom in strides, `logits` (N, classes, h, w)."""

    distances: torch.Tensor
    logits: torch.Tensor


class Detector(nn.Module):
    """A backbone of five halvings, a way back up to an eighth, and two small heads; the student has 1.9 M parameters.

    Args:
        classes: how many kinds of things; there is no class for nothing.
        widths: channels.
    """

    def __init__(self, classes: int, widths: Widths = STUDENT) -> None:
        super().__init__()
        half, quarter, fine, middle, deep = widths.stages
        self.fine = nn.Sequential(block(3, half, 2), block(half, quarter, 2), block(quarter, fine, 2), block(fine, fine, 1))
        self.middle = nn.Sequential(block(fine, middle, 2), *(Residual(middle) for _ in range(widths.middle)))
        self.deep = nn.Sequential(block(middle, deep, 2), *(Residual(deep) for _ in range(widths.deep)))
        self.deep_up = nn.Sequential(nn.Conv2d(deep, middle, 1, bias=False), nn.BatchNorm2d(middle))
        self.middle_up = nn.Sequential(nn.Conv2d(middle, fine, 1, bias=False), nn.BatchNorm2d(fine))
        self.head = block(fine, widths.head, 1)
        self.distances = nn.Conv2d(widths.head, 4, 1)
        self.logits = nn.Conv2d(widths.head, classes, 1)
        nn.init.constant_(self.logits.bias, RARE)  # type: ignore[arg-type]  # a convolution made with a bias has one
        nn.init.constant_(self.distances.bias, TYPICAL)  # type: ignore[arg-type]

    def maps(self, pictures: torch.Tensor) -> Maps:
        """Return what the heads say for pictures (N, 3, H, W)."""
        fine = self.fine(pictures)
        middle = self.middle(fine)
        middle = torch.relu(middle + functional.interpolate(self.deep_up(self.deep(middle)), scale_factor=2.0, mode="nearest"))
        fine = torch.relu(fine + functional.interpolate(self.middle_up(middle), scale_factor=2.0, mode="nearest"))
        seen = self.head(fine)
        return Maps(torch.exp(self.distances(seen).clamp(max=FARTHEST)), self.logits(seen))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return (N, 4 + classes, cells) for pictures (N, 3, H, W): centre x, centre y, width, height in pixels, probabilities."""
        distances, logits = self.maps(pictures)
        left, top, right, bottom = (distances * STRIDE_PX).unbind(1)
        columns = (torch.arange(left.shape[2], dtype=torch.float32) + 0.5)[None, None, :] * STRIDE_PX
        rows = (torch.arange(left.shape[1], dtype=torch.float32) + 0.5)[None, :, None] * STRIDE_PX
        boxes = torch.stack([columns + (right - left) / 2, rows + (bottom - top) / 2, left + right, top + bottom], 1)
        return torch.flatten(torch.cat([boxes, torch.sigmoid(logits)], 1), 2)


FAMILIES: dict[str, Callable[[int], Detector]] = {
    "student": lambda classes: Detector(classes, STUDENT),
    "expert": lambda classes: Detector(classes, EXPERT),
}


def build(family: str, classes: int, *, seed: int) -> Detector:
    """Return a fresh detector of a family without touching torch's global random state.

    Raises:
        InputError: there is no such family.
    """
    if family not in FAMILIES:
        raise InputError(f"there is no detector family {family}.", f"Take one of: {', '.join(FAMILIES)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FAMILIES[family](classes)
