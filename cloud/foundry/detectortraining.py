"""What a detector learns from: crops of boards, drawn from the number of the step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from cloud.foundry.boards import Boards, rgb
from cloud.foundry.schooling import DetectorPlan, crops_at
from cloud.foundry.teaching import teach
from cloud.foundry.workbench import Say
from shared.learning import detectionloss, detector
from shared.learning.loop import tensor
from shared.learning.scenes import assigned, crops


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

    teach(folder, family, model, loss_of, plan, side=boards.spec.width, say=say)
