"""The part of a picture that a stream looks at: shares of width and height, which outlive a change of resolution. Pure."""

from __future__ import annotations

import msgspec

from edge.sources.base import Size

EVEN = 2
"""Chroma planes have half the resolution: a rectangle begins and ends at even pixels."""


class Box(msgspec.Struct, frozen=True):
    """A rectangle in pixels."""

    x: int
    y: int
    width: int
    height: int


class Area(msgspec.Struct, frozen=True, kw_only=True):
    """A rectangle in shares of width and height, 0 to 1."""

    x: float
    y: float
    width: float
    height: float

    def box(self, size: Size) -> Box:
        """Return the rectangle in a picture of a size: even, inside, at least 2x2 (the whole of a smaller picture).

        Args:
            size: height and width of the picture in pixels.
        """
        height, width = size
        x, wide = _span(self.x, self.width, width)
        y, tall = _span(self.y, self.height, height)
        return Box(x, y, wide, tall)


def _span(start: float, share: float, length: int) -> tuple[int, int]:
    """Return start and length of one side in pixels."""
    if length < EVEN:
        return 0, length
    first = min(int(start * length) // EVEN * EVEN, (length - EVEN) // EVEN * EVEN)
    last = min(round((start + share) * length) // EVEN * EVEN, length)
    return first, max(EVEN, last - first)
