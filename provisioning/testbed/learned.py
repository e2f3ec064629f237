"""What act 3 asks of which models on which pictures, and the answer. Pure."""

from __future__ import annotations

import msgspec

from provisioning.testbed.intervals import Estimate


class ModelFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A model and its card, as paths."""

    model: str
    card: str


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Which models on which labelled pictures.

    Args:
        before: the student when the drift came.
        after: the one the round released.
        control: what a round of region B alone would have released.
        expert: the regions' expert.
        clean: pictures no region trained on for `after`.
        held_out: pictures nobody ever streamed, undrifted.
        held_out_drifted: the same under the drift.
        b_drifted: region B's streams under the drift.
    """

    before: ModelFiles
    after: ModelFiles
    control: ModelFiles
    expert: ModelFiles
    clean: tuple[str, ...]
    held_out: tuple[str, ...]
    held_out_drifted: tuple[str, ...]
    b_drifted: tuple[str, ...]


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracies with intervals over units; `transfer` and `forgotten` are differences on the same frames."""

    before_clean: Estimate
    before_drifted: Estimate
    after_drifted: Estimate
    expert_clean: Estimate
    expert_drifted: Estimate
    b_before: Estimate
    b_control: Estimate
    b_after: Estimate
    transfer: Estimate
    forgotten: Estimate
