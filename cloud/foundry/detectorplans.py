"""How long a data set's detectors are trained. Pure; a change here changes the content hash of every step that depends on it.

Crops, because a fault is a thousandth of a board: sixteen squares of 192 px cost what a board and a half would, and hold two dozen
faults. The last steps see larger squares, so that the batch norm's statistics are those of whole boards.
"""

from __future__ import annotations

import msgspec

from shared.learning.loop import Recipe

LARGE_TIMES = 2
"""A large crop's side in small ones; a batch of large ones has a quarter of the crops."""


class Schooling(msgspec.Struct, frozen=True, kw_only=True):
    """A network's training: optimiser steps, of which the last `large_share` see large crops, and the highest rate."""

    steps: int
    rate: float = 2e-3
    large_share: float = 0.15


class DetectorPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A data set's training. `turning` says whether up and down mean nothing; `crop_px` and `batch` are those of the small crops."""

    student: Schooling = Schooling(steps=2400)
    expert: Schooling = Schooling(steps=2400)
    crop_px: int = 192
    batch: int = 16
    turning: bool = True
    seed: int = 1
    threads: int = 2


def recipe(plan: DetectorPlan, schooling: Schooling) -> Recipe:
    """Return the training loop's recipe."""
    return Recipe(steps=schooling.steps, rate=schooling.rate, batch=plan.batch, seed=plan.seed, threads=plan.threads)


def crops_at(step: int, plan: DetectorPlan, schooling: Schooling) -> tuple[int, int]:
    """Return the side in pixels and the number of a step's crops."""
    if step < schooling.steps * (1 - schooling.large_share):
        return plan.crop_px, plan.batch
    return plan.crop_px * LARGE_TIMES, max(1, plan.batch // (LARGE_TIMES * LARGE_TIMES))


def shortened(plan: DetectorPlan, steps: int) -> DetectorPlan:
    """Return the plan with so many steps for either network."""
    replace = msgspec.structs.replace
    return replace(plan, student=replace(plan.student, steps=steps), expert=replace(plan.expert, steps=steps))
