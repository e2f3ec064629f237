"""The interface of a source of pictures: what a stream's thread reads from. Implementations: video, replay, folder, live, gstreamer.

A shot is looked at before it is developed: its brightness tells whether anything moved, and only what is wanted is converted, at the
size that is wanted. What is converted already (a picture from a folder) is a `Developed` look.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import msgspec
import numpy as np

from shared.vision.frames import Pixels

LIVE = 0
"""The length of a source that has no end and no places: a camera."""
ALWAYS: AbstractContextManager[None] = nullcontext()
"""Turns that nobody has to wait for."""
Size = tuple[int, int]
"""Height and width in pixels."""
Luma = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
"""Brightness, uint8 of shape (H, W); a view that is read at once and never kept."""


class Look(Protocol):
    """One picture that may not have been converted yet."""

    @property
    def size(self) -> Size:
        """Its own height and width in pixels."""

    def luma(self) -> Luma:
        """Return its brightness; costs little."""

    def pixels(self, wanted: Size | None) -> Pixels:
        """Convert it.

        Args:
            wanted: the size that is scaled to if that costs less than scaling later; None for its own.

        Returns:
            uint8 RGB, shape (H, W, 3), of the wanted size or its own.
        """


class Developed(msgspec.Struct, frozen=True):
    """A picture whose pixels are at hand; it is never scaled here."""

    whole: Pixels

    @property
    def size(self) -> Size:
        """See `Look.size`."""
        return self.whole.shape[0], self.whole.shape[1]

    def luma(self) -> Luma:
        """Take green for brightness; see `Look.luma`."""
        return self.whole[..., 1]

    def pixels(self, wanted: Size | None) -> Pixels:  # noqa: ARG002 - preprocessing scales it exactly
        """See `Look.pixels`."""
        return self.whole


class Shot(msgspec.Struct, frozen=True, kw_only=True):
    """One picture from a source.

    `index` is its place in the source, 0 to length - 1 (a live source counts on for ever); places that are missing between two shots
    were damaged. `unit` names what is independent (a board, a clip); empty where the source does not know.
    """

    index: int
    look: Look
    unit: str = ""

    @property
    def pixels(self) -> Pixels:
        """The picture in its own size."""
        return self.look.pixels(None)


class Source(Protocol):
    """Something that yields pictures in a fixed order."""

    def open(self) -> int:
        """Prepare to read, once or again after a failure.

        Returns:
            The number of places in one pass, at least 1, or LIVE.

        Raises:
            InputError: it cannot be used, with the remedy.
        """

    def rate(self) -> float:
        """Return the source's own pace in pictures per second, 0 where it has none; known once it is open."""

    def shots(self, first: int) -> Iterator[Shot]:
        """Yield one pass from place `first` to the end, leaving out what is damaged; a live source begins at 0 and does not end.

        Raises:
            InputError: reading failed beyond repair.
        """

    def close(self) -> None:
        """Give files and decoders back; `open` may follow."""
