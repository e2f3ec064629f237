"""What the user asks for when a model is imported, and what comes of it: values that flow between command, recipe and words. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from cloud.ownmodel.latency import Latency
from cloud.ownmodel.normalisation import AUTO
from shared.hwprofile.profile import Profile
from shared.release.card import Card

Precision = Literal["auto", "int8", "fp32"]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to import.

    `names` are the classes in the model's order, none for those of the folder; `normalise` and `expert_normalise` are names or figures (see
    normalisation); `size` and `expert_size` are width and height in pixels where a graph leaves them free; `profile` is what the devices
    have, `profiles` those whose latency is of interest.
    """

    model: Path
    pictures: Path
    out: Path
    profile: Profile
    profiles: tuple[Profile, ...]
    names: tuple[str, ...] = ()
    expert: Path | None = None
    task: str = "classification"
    normalise: str = AUTO
    expert_normalise: str = AUTO
    bgr: bool = False
    output: str = ""
    expert_bgr: bool = False
    size: tuple[int, int] = (0, 0)
    expert_size: tuple[int, int] = (0, 0)
    precision: Precision = "auto"
    release: int = 1


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What an import made.

    `precision` is int8 or fp32 and `reason` why; `changes` what was changed in the graph; `warnings` what the user should look at.
    """

    folder: Path
    card: Card
    model_bytes: int
    given_bytes: int
    precision: str
    reason: str
    normalisation: str
    tried: dict[str, float] = {}
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    latencies: tuple[Latency, ...] = ()
    expert: Card | None = None
