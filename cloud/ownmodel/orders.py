"""What the user asks for when a model is imported, and what comes of it: values that flow between command, recipe and words. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from cloud.ownmodel.latency import Latency
from cloud.ownmodel.normalisation import AUTO
from cloud.ownmodel.surgery import Wanted
from shared.hwprofile.profile import Profile
from shared.release.card import Card
from shared.vision.fit import LETTERBOX, STRETCH
from shared.vision.tasks.task import DETECTION

Precision = Literal["auto", "int8", "fp32"]
USUAL_FIT = {DETECTION: LETTERBOX}
"""How most networks of a task were trained to see frames of another shape, where that is not `stretch`."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to import.

    `names` are the classes in the model's order, none for those of the folder; `normalise` and `expert_normalise` are names or figures (see
    normalisation); `size` and `expert_size` are width and height in pixels where a graph leaves them free; `profile` is what the devices
    have, `profiles` those whose latency is of interest; `fit` and `expert_fit` say how frames of another shape are brought into the input
    (see shared.vision.fit), AUTO as the task's exporters do it.
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
    fit: str = AUTO
    expert_fit: str = AUTO
    precision: Precision = "auto"
    release: int = 1

    def wanted(self) -> Wanted:
        """Return what is said of the model's graph."""
        width, height = self.size
        return Wanted(task=self.task, output=self.output, width=width, height=height, bgr=self.bgr, fit=self._fit(self.fit))

    def wanted_expert(self) -> Wanted:
        """Return what is said of the expert's graph."""
        width, height = self.expert_size
        return Wanted(task=self.task, width=width, height=height, bgr=self.expert_bgr, fit=self._fit(self.expert_fit))

    def _fit(self, asked: str) -> str:
        return USUAL_FIT.get(self.task, STRETCH) if asked == AUTO else asked


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
