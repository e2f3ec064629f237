"""Trains a detector in a step's folder, from where an earlier build was stopped, and leaves its files there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from cloud.foundry.boards import Boards, rgb
from cloud.foundry.export import to_onnx
from cloud.foundry.schooling import DetectorPlan, crops_at, recipe
from cloud.foundry.training import reporter
from cloud.foundry.workbench import Say
from shared.durable import write
from shared.learning import arrays, course, detectionloss, detector
from shared.learning.loop import tensor
from shared.learning.scenes import assigned, crops

STATE = "training.pt"


def train(folder: Path, family: str, boards: Boards, plan: DetectorPlan, say: Say) -> None:
    """Train a detector on labels; leaves `<family>.npz` and `<family>.onnx`, both FP32.

    Args:
        folder: where an earlier call's `training.pt` may lie.
        family: student or expert.
        boards: the seed split.
        plan: how.
        say: told the progress in lines.
    """
    model = detector.build(family, len(boards.names), seed=plan.seed)

    def loss_of(step: int) -> torch.Tensor:
        wanted, count = crops_at(step, plan, family)
        side = min(wanted, *boards.scenes.frames.shape[1:3])
        random = np.random.default_rng([plan.seed, step])
        batch = crops(boards.scenes, side=side, count=count, turning=plan.turning, random=random)
        targets = assigned(batch, stride=detector.STRIDE_PX)
        return detectionloss.loss(model.maps(tensor(rgb(batch.frames))), targets)

    course.run(model, loss_of, recipe(plan, family), state=folder / STATE, progress=reporter(say, family))
    arrays.save(folder / f"{family}.npz", arrays.to_arrays(model))
    write(folder / f"{family}.onnx", to_onnx(model, side=boards.spec.width))
    (folder / STATE).unlink(missing_ok=True)
