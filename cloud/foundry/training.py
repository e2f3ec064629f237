"""Trains a build's two networks phase by phase and leaves their files in a step's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from cloud.foundry.distil import with_expert
from cloud.foundry.export import to_onnx
from cloud.foundry.pictures import Pictures
from cloud.foundry.plans import Plan, recipe
from cloud.foundry.workbench import Say
from shared.durable import write
from shared.learning import architectures, arrays
from shared.learning.loop import Progress, Recipe, train
from shared.learning.samples import Samples

EVERY_STEPS = 100


def expert(folder: Path, pictures: Pictures, plan: Plan, say: Say) -> None:
    """Train the expert on the seed set's labels; leaves `expert.onnx`."""
    model = architectures.build("expert", len(pictures.names), side=pictures.side, seed=plan.seed)
    recipes = [recipe(plan, phase, number, optics=plan.expert_optics) for number, phase in enumerate(plan.expert)]
    _train(model, pictures.samples, recipes, reporter(say, "expert"))
    write(folder / "expert.onnx", to_onnx(model, side=pictures.side))


def student(folder: Path, pictures: Pictures, plan: Plan, teacher: Path, say: Say) -> None:
    """Train the student on labels and the expert's soft answers; leaves `student.npz` and `student.onnx`, both FP32."""
    say("student: the expert labels the seed set")
    samples = with_expert(pictures, teacher)
    model = architectures.build("student", len(pictures.names), side=pictures.side, seed=plan.seed)
    recipes = [recipe(plan, phase, number) for number, phase in enumerate(plan.student)]
    _train(model, samples, recipes, reporter(say, "student"))
    arrays.save(folder / "student.npz", arrays.to_arrays(model))
    write(folder / "student.onnx", to_onnx(model, side=pictures.side))


def _train(model: nn.Module, samples: Samples, recipes: Sequence[Recipe], progress: Progress) -> None:
    """Train all phases; on crops labels teach alone, because the expert answered for the whole picture."""
    for phase in recipes:
        own = samples if not phase.crop_px else Samples(frames=samples.frames, labels=samples.labels, spots=samples.spots)
        train(model, own, phase, progress=progress)


def reporter(say: Say, family: str) -> Progress:
    """Return what tells the mean loss of every EVERY_STEPS steps in a line."""
    recent: list[float] = []

    def report(step: int, steps: int, loss: float) -> None:
        recent.append(loss)
        if step % EVERY_STEPS == 0 or step == steps:
            say(f"{family}: step {step} of {steps}, loss {float(np.mean(recent[-EVERY_STEPS:])):.3f}")

    return report
