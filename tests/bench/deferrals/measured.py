"""One student beside its expert: what both say. Pure."""

from __future__ import annotations

import msgspec

from cloud.foundry.calibrate import Answers
from shared.learning.samples import Logits

MEASURED = ("policy-fit", "policy-test", "official")


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What both say per split, the student's logits on its turns, and each official frame's group (seen, unseen, or nothing)."""

    data: str
    seed: int
    fit: Answers
    test: Answers
    official: Answers
    turns: tuple[str, ...]
    again: dict[str, list[Logits]]
    groups: tuple[str, ...]
