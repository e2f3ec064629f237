"""Signed distance fields on a square pixel grid: negative inside, in pixels. Pure numpy, so that edges are exact at sub-pixels.

Here: the grid, the primitive shapes, rays and smooth noise. Not here: what a board looks like (layout) or its faults (defects).
A union of shapes is `np.minimum`, cutting B out of A is `np.maximum(A, -B)` (Quilez, "2D distance functions").
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

Field = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
"""float32 (size, size): a signed distance or any other value per pixel."""


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """Coordinates of the pixel centres, float32 (size, size), in a frame turned by an angle about the window's middle."""

    x: Field
    y: Field

    @property
    def size(self) -> int:
        """Pixels along one side."""
        return int(self.x.shape[0])


def grid(size: int, turn_degrees: float = 0.0) -> Grid:
    """Return a grid of `size` x `size` pixels whose axes are turned by `turn_degrees` about the middle."""
    axis = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
    x, y = np.meshgrid(axis, axis)
    cos, sin = np.float32(math.cos(math.radians(turn_degrees))), np.float32(math.sin(math.radians(turn_degrees)))
    return Grid(x=cos * x + sin * y, y=cos * y - sin * x)


def capsule(where: Grid, start: tuple[float, float], end: tuple[float, float], radius: float) -> Field:
    """Return the distance to a thick line from `start` to `end` with round ends."""
    ax, ay = np.float32(start[0]), np.float32(start[1])
    dx, dy = np.float32(end[0]) - ax, np.float32(end[1]) - ay
    length = max(float(dx * dx + dy * dy), 1e-6)
    px, py = where.x - ax, where.y - ay
    along = px * (dx / np.float32(length))
    along += py * (dy / np.float32(length))
    np.clip(along, 0, 1, out=along)
    px -= along * dx
    py -= along * dy
    return np.asarray(np.sqrt(px * px + py * py) - np.float32(radius), np.float32)


def disc(where: Grid, middle: tuple[float, float], radius: float) -> Field:
    """Return the distance to a disc."""
    px, py = where.x - np.float32(middle[0]), where.y - np.float32(middle[1])
    return np.asarray(np.sqrt(px * px + py * py) - np.float32(radius), np.float32)


def box(where: Grid, middle: tuple[float, float], half: tuple[float, float], corner: float) -> Field:
    """Return the distance to a rectangle of half sizes `half` with corners rounded by `corner`."""
    qx = np.abs(where.x - np.float32(middle[0])) - np.float32(half[0] - corner)
    qy = np.abs(where.y - np.float32(middle[1])) - np.float32(half[1] - corner)
    ox, oy = np.maximum(qx, 0), np.maximum(qy, 0)
    return np.asarray(np.sqrt(ox * ox + oy * oy) + np.minimum(np.maximum(qx, qy), 0) - np.float32(corner), np.float32)


def half_plane(where: Grid, angle: float, offset: float) -> Field:
    """Return the distance to the half plane below the line at `offset` along the direction `angle` (radians)."""
    return where.x * np.float32(math.cos(angle)) + where.y * np.float32(math.sin(angle)) - np.float32(offset)


def ray(field: Field, start: tuple[float, float], direction: tuple[float, float], limit: int) -> int:
    """Return after how many pixels the field changes its sign along a ray.

    Args:
        field: the signed distances.
        start: column and row where the ray starts; its sign is that one pixel along the ray.
        direction: unit vector (columns, rows).
        limit: pixels to look at.

    Returns:
        The first step with the other sign, or `limit` when the ray leaves the window or nothing changes.
    """
    steps = np.arange(1, limit + 1, dtype=np.float32)
    columns = np.rint(start[0] + direction[0] * steps).astype(np.intp)
    rows = np.rint(start[1] + direction[1] * steps).astype(np.intp)
    size = field.shape[0]
    inside = (columns >= 0) & (columns < size) & (rows >= 0) & (rows < size)
    if not inside.all():
        return limit
    values = field[rows, columns] > 0
    changed = np.flatnonzero(values != values[0])
    return int(changed[0]) + 1 if len(changed) else limit


def smooth_noise(random: np.random.Generator, size: int, cell: int) -> Field:
    """Return noise of mean 0 and deviation near 1 that varies over about `cell` pixels (value noise, bilinear)."""
    count = size // cell + 2
    coarse = random.standard_normal((count, count), dtype=np.float32)
    position = np.arange(size, dtype=np.float32) / cell
    low = position.astype(np.intp)
    share = (position - low).astype(np.float32)
    rows = coarse[low] * (1 - share)[:, None] + coarse[low + 1] * share[:, None]
    return np.asarray(1.5 * (rows[:, low] * (1 - share) + rows[:, low + 1] * share), np.float32)
