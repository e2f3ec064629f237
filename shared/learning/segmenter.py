"""A network that says of every pixel what it shows: four scales down, the same way up, what was seen on the way down added again.

The shape of U-Net (Ronneberger et al. 2015) with additions for concatenations: half the channels for the same map. Made for INT8 as the
classifiers are: plain 3x3 convolutions in multiples of 16 channels. Input float32 NCHW in 0..1, sides multiples of 8; output logits
(N, classes, H, W), class 0 the background.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from shared.errors import InputError
from shared.learning.architectures import Residual, block

STUDENT = (16, 32, 64, 128)
EXPERT = (32, 64, 128, 192)
SIDE_STEP_PX = 8


class Segmenter(nn.Module):
    """The student has 0.4 M parameters.

    Args:
        classes: how many, the background counted.
        widths: channels per scale, from the whole side to an eighth.
        deep: residual blocks at the coarsest scale.
    """

    def __init__(self, classes: int, widths: tuple[int, ...] = STUDENT, deep: int = 0) -> None:
        super().__init__()
        down = [block(3, widths[0], 1)]
        down += [nn.Sequential(block(fine, coarse, 2), block(coarse, coarse, 1)) for fine, coarse in itertools.pairwise(widths)]
        down[-1].extend(Residual(widths[-1]) for _ in range(deep))
        self.down = nn.ModuleList(down)
        pairs = [(coarse, fine) for fine, coarse in itertools.pairwise(widths)][::-1]
        self.narrow = nn.ModuleList(
            nn.Sequential(nn.Conv2d(coarse, fine, 1, bias=False), nn.BatchNorm2d(fine), nn.ReLU()) for coarse, fine in pairs
        )
        self.smooth = nn.ModuleList(block(fine, fine, 1) for _, fine in pairs)
        self.logits = nn.Conv2d(widths[0], classes, 1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes, H, W) for pictures (N, 3, H, W)."""
        seen = [pictures]
        for stage in self.down:
            seen.append(stage(seen[-1]))
        found = seen.pop()
        for narrow, smooth, beside in zip(self.narrow, self.smooth, seen[:0:-1], strict=True):
            found = smooth(functional.interpolate(narrow(found), scale_factor=2.0, mode="nearest") + beside)
        logits: torch.Tensor = self.logits(found)
        return logits


FAMILIES: dict[str, Callable[[int], Segmenter]] = {
    "student": lambda classes: Segmenter(classes, STUDENT),
    "expert": lambda classes: Segmenter(classes, EXPERT, 2),
}


def build(family: str, classes: int, *, seed: int) -> Segmenter:
    """Return a fresh segmenter of a family without touching torch's global random state.

    Raises:
        InputError: there is no such family.
    """
    if family not in FAMILIES:
        raise InputError(f"there is no segmenter family {family}.", f"Take one of: {', '.join(FAMILIES)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FAMILIES[family](classes)
