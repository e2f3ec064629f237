"""What a segmenter's training minimises: Dice and focal loss. A fault is one pixel in a hundred; cross entropy alone learns to find none.

Dice (Milletari et al. 2016) is taken over the whole batch per class and weighs a class by nothing but itself, however few its pixels;
focal loss (Lin et al. 2017) gives every pixel a gradient, the harder ones most.
"""

from __future__ import annotations

import torch
from torch.nn import functional

FOCUS = 2.0
SMOOTH = 1.0
"""Pixels added to both sides of the Dice fraction, so that a class with none of them asks for nothing."""


def loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return the loss of a batch.

    Args:
        logits: (N, classes, H, W).
        masks: int64 (N, H, W), the class of each pixel, 0 the background.
    """
    return dice(logits, masks) + focal(logits, masks)


def dice(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return one minus the soft Dice coefficient, the mean over the classes but the background that occur in the batch."""
    classes = logits.shape[1]
    likely = functional.softmax(logits, dim=1)[:, 1:]
    wanted = functional.one_hot(masks, classes).permute(0, 3, 1, 2)[:, 1:].to(likely.dtype)
    present = wanted.sum((0, 2, 3)) > 0
    both = (likely * wanted).sum((0, 2, 3))
    coefficient = (2 * both + SMOOTH) / (likely.sum((0, 2, 3)) + wanted.sum((0, 2, 3)) + SMOOTH)
    return (1 - coefficient)[present].mean() if bool(present.any()) else logits.sum() * 0


def focal(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy of every pixel, weighted by how unlikely its true class seemed, over the mean weight."""
    entropy = functional.cross_entropy(logits, masks, reduction="none")
    weight = (1 - torch.exp(-entropy)).pow(FOCUS).detach()
    return (weight * entropy).sum() / (weight.sum() + SMOOTH)
