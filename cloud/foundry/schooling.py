"""How long detectors and segmenters are trained. Pure; a change here changes the content hash of every step that depends on it.

Detectors learn from crops, because a fault is a thousandth of a board: sixteen squares of 192 px cost what a board and a half would, and
hold two dozen faults. The last steps see larger squares, so that the batch norm's statistics are those of whole boards.
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

    student: Schooling = Schooling(steps=6000, large_share=0.25)
    expert: Schooling = Schooling(steps=4000, large_share=0.25)
    crop_px: int = 192
    batch: int = 16
    turning: bool = True
    seed: int = 1
    threads: int = 2


class SegmenterPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A data set's training on whole pictures, `batch` a step."""

    student: Schooling = Schooling(steps=1200, rate=3e-3)
    expert: Schooling = Schooling(steps=1200, rate=2e-3)
    batch: int = 16
    turning: bool = True
    seed: int = 1
    threads: int = 2


def schooling_of(plan: DetectorPlan | SegmenterPlan, family: str) -> Schooling:
    """Return the training of the student or the expert."""
    return plan.student if family == "student" else plan.expert


def recipe(plan: DetectorPlan | SegmenterPlan, family: str) -> Recipe:
    """Return the training loop's recipe for the student or the expert."""
    schooling = schooling_of(plan, family)
    return Recipe(steps=schooling.steps, rate=schooling.rate, batch=plan.batch, seed=plan.seed, threads=plan.threads)


def crops_at(step: int, plan: DetectorPlan, family: str) -> tuple[int, int]:
    """Return the side in pixels and the number of a step's crops."""
    schooling = schooling_of(plan, family)
    if step < schooling.steps * (1 - schooling.large_share):
        return plan.crop_px, plan.batch
    return plan.crop_px * LARGE_TIMES, max(1, plan.batch // (LARGE_TIMES * LARGE_TIMES))
