"""The interface of an expert."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shared.vision.frames import Pixels
from shared.wire.messages import Prediction


class Expert(Protocol):
    """A loaded model that answers cases; used by one thread at a time."""

    @property
    def release(self) -> int:
        """The release's number within the family `expert`."""

    @property
    def name(self) -> str:
        """What runs it, for people."""

    def answer(self, pictures: Sequence[Pixels]) -> list[Prediction]:
        """Answer one batch.

        Args:
            pictures: uint8 RGB, each of shape (H, W, 3); sizes may differ.

        Returns:
            One prediction per picture.

        Raises:
            EngineError: the model failed.
        """

    def close(self) -> None:
        """Give the memory back; not used afterwards."""
