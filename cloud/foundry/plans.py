"""How long and how each data set's networks are trained. Pure; a change here changes the content hash of every step that depends on it.

Small batches, because the first phase is short of steps, not of pictures: 32 a step learn about twice as fast as 64.

Where a data set knows what spot of a picture makes its label, training begins with crops around it: several times faster, because a
fault is a few of nine thousand pixels. The last phase always sees whole pictures.
"""

from __future__ import annotations

import msgspec

from shared.learning.loop import Recipe
from shared.learning.samples import Augmentation

SOFT_WEIGHT = 0.7


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a training: optimiser steps of `batch` pictures, highest rate, side of the crops in pixels (0: whole pictures)."""

    steps: int
    rate: float
    crop_px: int = 0
    batch: int = 32


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A data set's training: phases of the expert, then of the student.

    `turning` says whether up and down mean nothing; `expert_optics` is the share of the expert's pictures taken again by other optics: the
    expert must hold where a site's lamp or lens drifts, because it is what the students learn from there. A student is too small for
    all optics at once; it learns its sites'.
    """

    expert: tuple[Phase, ...]
    student: tuple[Phase, ...]
    turning: bool = True
    shift_px: int = 6
    expert_optics: float = 0.5
    seed: int = 1
    threads: int = 2


LINE = Plan(
    expert=(Phase(steps=3000, rate=2e-3, crop_px=48), Phase(steps=3000, rate=1.5e-3)),
    student=(Phase(steps=2000, rate=3e-3, crop_px=48), Phase(steps=900, rate=2e-3)),
)
DEEPPCB = LINE
FASHION = Plan(expert=(Phase(steps=3000, rate=2e-3),), student=(Phase(steps=2000, rate=2e-3),), turning=False, shift_px=2)
FOLDER = Plan(expert=(Phase(steps=1200, rate=2e-3),), student=(Phase(steps=800, rate=2e-3),), turning=False)
PLANS = {"line": LINE, "deeppcb": DEEPPCB, "fashion-mnist": FASHION}


def plan_for(data: str) -> Plan:
    """Return the plan of a data set; folders share one."""
    return PLANS.get(data, FOLDER)


def recipe(plan: Plan, phase: Phase, number: int, *, optics: float = 0.0) -> Recipe:
    """Return the recipe of a plan's phase.

    Args:
        plan: the data set's.
        phase: the part of it.
        number: counts the phases from 0 and gives each its own order of pictures.
        optics: share of the pictures taken again by other optics.
    """
    shift = 0 if phase.crop_px else plan.shift_px
    return Recipe(
        steps=phase.steps,
        rate=phase.rate,
        crop_px=phase.crop_px,
        batch=phase.batch,
        seed=plan.seed * 100 + number,
        soft_weight=SOFT_WEIGHT,
        threads=plan.threads,
        augmentation=Augmentation(upside_down=plan.turning, quarter_turns=plan.turning, shift_px=shift, optics=optics),
    )
