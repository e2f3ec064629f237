"""Trains a network in a step's folder, from where an earlier build was stopped, and leaves its files there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from cloud.foundry.export import to_onnx
from cloud.foundry.schooling import DetectorPlan, SegmenterPlan, recipe
from cloud.foundry.training import reporter
from cloud.foundry.workbench import Say
from shared.durable import write
from shared.learning import arrays, course

STATE = "training.pt"


def teach(
    folder: Path,
    family: str,
    model: nn.Module,
    loss_of: Callable[[int], torch.Tensor],
    plan: DetectorPlan | SegmenterPlan,
    *,
    side: int,
    say: Say,
) -> None:
    """Train a network; leaves `<family>.npz` and `<family>.onnx`, both FP32.

    Args:
        folder: where an earlier call's `training.pt` may lie.
        family: student or expert.
        model: the network, before its first step.
        loss_of: the loss of a step, counted from 0; drawn from the step's number alone.
        plan: how.
        side: of the pictures it will see, in pixels.
        say: told the progress in lines.
    """
    course.run(model, loss_of, recipe(plan, family), state=folder / STATE, progress=reporter(say, family))
    arrays.save(folder / f"{family}.npz", arrays.to_arrays(model))
    write(folder / f"{family}.onnx", to_onnx(model, side=side))
    (folder / STATE).unlink(missing_ok=True)
