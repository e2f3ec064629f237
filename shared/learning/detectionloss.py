"""What a detector's training minimises: quality focal loss on the classes, generalised IoU on the boxes of the cells that answer.

The class score of an answering cell is drawn to the IoU its box reaches (Li et al. 2020, "Generalized Focal Loss"), every other score to
0, each weighted by the square of its error: scores then rank boxes by how well they lie, which is what non-maximum suppression and mAP
want, and thousands of easy empty cells count for little. Boxes: Rezatofighi et al. 2019, whose gradient does not vanish where two boxes
do not touch.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from shared.learning.detector import STRIDE_PX, Maps
from shared.learning.scenes import Targets

BOX_WEIGHT = 2.0
TINY = 1e-6


def loss(maps: Maps, targets: Targets) -> torch.Tensor:
    """Return the loss of a batch, a mean over the cells that answer for a thing.

    Args:
        maps: what the detector said.
        targets: what it should have said (see scenes.assigned).
    """
    count, classes, _, width = maps.logits.shape
    logits = maps.logits.flatten(2)
    pictures, cells = torch.from_numpy(targets.pictures), torch.from_numpy(targets.cells)
    wanted = torch.zeros_like(logits)
    weight = torch.from_numpy(~targets.silent).to(logits.dtype)[:, None, :].expand(count, classes, -1)
    boxes_loss = logits.sum() * 0
    if len(cells):
        found = corners(maps.distances.flatten(2)[pictures, :, cells], cells, width)
        overlap, general = overlaps(found, torch.from_numpy(targets.boxes))
        boxes_loss = (1 - general).mean()
        wanted[pictures, torch.from_numpy(targets.classes), cells] = overlap.detach().clamp(0, 1)
    return (weight * quality_focal(logits, wanted)).sum() / max(1, len(cells)) + BOX_WEIGHT * boxes_loss


def quality_focal(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return per score its cross entropy with `wanted` in 0..1, times the squared distance of the two (equation 3 with beta 2)."""
    error = (torch.sigmoid(logits) - wanted).detach().square()
    return error * functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")


def corners(distances: torch.Tensor, cells: torch.Tensor, width: int) -> torch.Tensor:
    """Return boxes (K, 4), x1, y1, x2, y2 in pixels.

    Args:
        distances: (K, 4) in strides.
        cells: int64 (K), row * width + column.
        width: cells in a row of the map.
    """
    x = (cells % width + 0.5) * STRIDE_PX
    y = (torch.div(cells, width, rounding_mode="floor") + 0.5) * STRIDE_PX
    left, top, right, bottom = (distances * STRIDE_PX).unbind(1)
    return torch.stack([x - left, y - top, x + right, y + bottom], 1)


def overlaps(found: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the IoU and the generalised IoU of boxes (K, 4) pair by pair."""
    low, high = torch.maximum(found[:, :2], wanted[:, :2]), torch.minimum(found[:, 2:], wanted[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    union = (found[:, 2:] - found[:, :2]).prod(1) + (wanted[:, 2:] - wanted[:, :2]).prod(1) - shared
    hull = (torch.maximum(found[:, 2:], wanted[:, 2:]) - torch.minimum(found[:, :2], wanted[:, :2])).prod(1)
    overlap = shared / (union + TINY)
    return overlap, overlap - (hull - union) / (hull + TINY)
