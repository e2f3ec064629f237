"""Pictures that can be recognised anywhere: as they are encoded, as they are decoded, and by the names beside them. Pure."""

from __future__ import annotations

import numpy as np

from region.egress import marks_of
from shared.vision import picture
from shared.wire.messages import Case, Picture, Prediction

SIDES = (24, 48, 64, 128)
"""Sides of the pictures, in pixels: the smallest is one chunk, the largest four."""
UNIT = "unit-of-this-run"


class Marked:
    """The pictures of one run, and what to look for.

    Args:
        seed: of the noise they are made of.
    """

    def __init__(self, seed: int) -> None:
        noise = np.random.default_rng(seed)
        pixels = [noise.integers(0, 256, (side, side, 3), np.uint8) for side in SIDES]
        self.seed = seed
        self._name = f"{UNIT}-{seed:08x}"
        self.pictures: list[Picture] = [picture.encode(one, codec="png") for one in pixels]
        rows = [one[len(one) * part // 3].tobytes()[:24] for one in pixels for part in (1, 2)]
        self.marks: list[bytes] = [*(mark for one in self.pictures for mark in marks_of(one.data)), *rows, self._name.encode()]

    def case(self, device: str, number: int, token: str) -> Case:
        """Return a case with a marked picture and a unit that no other case has."""
        return Case(
            stream="line", frame=number, unit=f"{self._name}-{device}-{token}", captured_at=1.0, reason="margin",
            is_audit=number % 7 == 0, score=0.1, threshold=0.5, release=1, prediction=Prediction(index=0, probabilities=(0.6, 0.4)),
            picture=self.pictures[number % len(self.pictures)],
        )  # fmt: skip

    def found(self, data: bytes) -> int:
        """Return how many marked bytes are in `data`."""
        return sum(len(mark) * data.count(mark) for mark in self.marks)
