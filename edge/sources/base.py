"""The interface of a source of pictures: what a stream's thread reads from. Implementations: video, replay, folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

from shared.vision.frames import Pixels


class Shot(msgspec.Struct, frozen=True, kw_only=True):
    """One picture from a source.

    `index` is its place in the source, 0 to length - 1; places that are missing between two shots were damaged. `unit` names what is
    independent (a board, a clip); empty where the source does not know.
    """

    index: int
    pixels: Pixels
    unit: str = ""


class Source(Protocol):
    """Something that yields pictures in a fixed order."""

    def open(self) -> int:
        """Prepare to read, once or again after a failure.

        Returns:
            The number of places in one pass, at least 1.

        Raises:
            InputError: it cannot be used, with the remedy.
        """

    def rate(self) -> float:
        """Return the source's own pace in pictures per second, 0 where it has none; known once it is open."""

    def shots(self, first: int) -> Iterator[Shot]:
        """Yield one pass from place `first` to the end, leaving out what is damaged.

        Raises:
            InputError: reading failed beyond repair.
        """

    def close(self) -> None:
        """Give files and decoders back; `open` may follow."""
