"""The six kinds of etching faults of DeepPCB (Tang et al. 2019, "Online PCB defect detector on a new PCB defect dataset").

Here: where a fault may lie and its shape, on the fields of a layout. Not here: light and camera (optics). Pure numpy.

Rules, in order:
1. A fault lies inside the window by MARGIN_PX and apart from drilled holes.
2. It does to the copper what its name says and nothing else: a mouse bite leaves the trace whole, a spur touches no other net,
   a short joins two different nets, an island touches nothing, a pinhole is closed all around.
3. A fault's pixels are those whose copper it changed, before light and lens: what a segmentation should find.
4. `plant` gives None when the layout has no room for it; the caller draws another layout.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np

from provisioning.line.geometry import Field, Grid, capsule, disc, grid, ray
from provisioning.line.layout import Layout, Random

NAMES = ("none", "open", "short", "mousebite", "spur", "copper", "pinhole")
MARGIN_PX = 22
TRIES = 24
Spot = tuple[float, float]
Pixels = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
NOWHERE: Spot = (-1.0, -1.0)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A planted fault: its middle (column, row) in pixels, NOWHERE for none, and the `pixels` (size, size) whose copper it changed."""

    middle: Spot
    pixels: Pixels


def plant(kind: int, layout: Layout, random: Random, rough: Field, scale: float = 1.0) -> Fault | None:
    """Plant one fault into a layout's copper.

    Args:
        kind: index in NAMES; 0 plants nothing.
        layout: changed in place.
        random: source of all choices.
        rough: smooth noise (size, size) that makes the fault's outline ragged.
        scale: multiplies the fault's size; smaller is harder to see.

    Returns:
        The fault, or None when it did not fit.
    """
    if kind == 0:
        return Fault(middle=NOWHERE, pixels=np.zeros(layout.copper.shape, np.bool_))
    site = _Site(layout, random, rough, scale)
    before = layout.copper.copy()
    if not any(PLANTERS[kind](site) for _ in range(TRIES)):
        return None
    changed = (layout.copper < 0) != (before < 0)
    rows, columns = np.nonzero(changed)
    return Fault(middle=(float(columns.mean()), float(rows.mean())), pixels=changed) if len(rows) else None


class _Site:
    """What a planter needs: the layout, the chance, and where faults may lie."""

    def __init__(self, layout: Layout, random: Random, rough: Field, scale: float) -> None:
        self.layout, self.random, self.scale = layout, random, scale
        size = layout.copper.shape[0]
        self.where: Grid = grid(size)
        self.half = (size - 1) / 2
        self.rough = rough * np.float32(0.45)
        self.allowed = layout.drill > 6.0
        border = np.ones((size, size), bool)
        border[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX] = False
        self.allowed &= ~border

    def pick(self, mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> tuple[int, int] | None:
        """Return a random allowed pixel (column, row) of `mask`, or None."""
        spots = np.flatnonzero(mask & self.allowed)
        if not len(spots):
            return None
        row, column = divmod(int(spots[self.random.integers(len(spots))]), mask.shape[1])
        return column, row

    def edge(self) -> tuple[tuple[int, int], Spot] | None:
        """Return a random spot on a copper edge and the unit vector that leads out of the copper there."""
        spot = self.pick(np.abs(self.layout.copper) < 0.6)
        if spot is None:
            return None
        field, (column, row) = self.layout.copper, spot
        dx, dy = float(field[row, column + 2] - field[row, column - 2]), float(field[row + 2, column] - field[row - 2, column])
        length = math.hypot(dx, dy)
        return None if length < 2.0 else (spot, (dx / length, dy / length))

    def grow(self, shape: Field) -> bool:
        """Add copper of a ragged outline."""
        np.minimum(self.layout.copper, shape + self.rough, out=self.layout.copper)
        return True

    def etch(self, shape: Field) -> bool:
        """Take copper of a ragged outline away, mask opening included."""
        np.maximum(self.layout.copper, -(shape + self.rough), out=self.layout.copper)
        return True

    def line(self, start: Spot, end: Spot, radius: float) -> Field:
        """Return a capsule between two pixels."""
        return capsule(self.where, self.centred(start), self.centred(end), radius)

    def centred(self, spot: Spot) -> Spot:
        """Return a pixel position (column, row) in the grid's centred coordinates."""
        return spot[0] - self.half, spot[1] - self.half

    def uniform(self, low: float, high: float) -> float:
        """Return a random size in pixels, scaled by the difficulty."""
        return float(self.random.uniform(low, high)) * self.scale


def _open(site: _Site) -> bool:
    edge = site.edge()
    if edge is None:
        return False
    (column, row), (nx, ny) = edge
    field = site.layout.copper
    thick = ray(field, (column - nx, row - ny), (-nx, -ny), 16) + 1
    if not 5 <= thick <= 13:
        return False
    middle = (column - nx * thick / 2, row - ny * thick / 2)
    for side in (-10, 10):
        beside = field[round(middle[1] + nx * side), round(middle[0] - ny * side)]
        if abs(float(beside) + thick / 2) > 1.4:
            return False
    reach, cut = thick / 2 + 1.2, site.uniform(2.0, 4.0)
    start, end = (middle[0] - nx * reach, middle[1] - ny * reach), (middle[0] + nx * reach, middle[1] + ny * reach)
    return site.etch(site.line(start, end, cut))


def _short(site: _Site) -> bool:
    edge = site.edge()
    if edge is None:
        return False
    (column, row), (nx, ny) = edge
    field, net = site.layout.copper, site.layout.net
    gap = ray(field, (column + nx, row + ny), (nx, ny), 18) + 1
    if gap > 17:
        return False
    far = (column + nx * (gap + 1), row + ny * (gap + 1))
    if net[row, column] == net[round(far[1]), round(far[0])]:
        return False
    sway = float(site.random.uniform(-3, 3))
    middle = (column + nx * gap / 2 - ny * sway, row + ny * gap / 2 + nx * sway)
    radius = site.uniform(1.8, 3.2)
    return site.grow(np.minimum(site.line((column - nx, row - ny), middle, radius), site.line(middle, far, radius)))


def _mousebite(site: _Site) -> bool:
    edge = site.edge()
    if edge is None:
        return False
    (column, row), (nx, ny) = edge
    thick = ray(site.layout.copper, (column - nx, row - ny), (-nx, -ny), 20) + 1
    depth = min(site.uniform(4.0, 7.0), thick * 0.65)
    if depth < 4.0:
        return False
    along = site.uniform(0.3, 2.5)
    start, end = (column - ny * along, row + nx * along), (column + ny * along, row - nx * along)
    return site.etch(site.line(start, end, depth))


def _spur(site: _Site) -> bool:
    edge = site.edge()
    if edge is None:
        return False
    (column, row), (nx, ny) = edge
    gap = ray(site.layout.copper, (column + nx, row + ny), (nx, ny), 20) + 1
    radius = site.uniform(1.5, 2.6)
    length = min(site.uniform(4.0, 8.0), gap - radius - 4.5)
    if length < 3.5:
        return False
    sway = float(site.random.uniform(-1.5, 1.5))
    tip = (column + nx * length - ny * sway, row + ny * length + nx * sway)
    return site.grow(site.line((column - nx, row - ny), tip, radius))


def _copper(site: _Site) -> bool:
    radius = site.uniform(2.0, 4.0)
    spot = site.pick(site.layout.copper > radius + 4.0)
    if spot is None:
        return False
    turn, length = float(site.random.uniform(0, math.pi)), site.uniform(0.0, 3.0)
    step = (length * math.cos(turn), length * math.sin(turn))
    return site.grow(site.line((spot[0] - step[0], spot[1] - step[1]), (spot[0] + step[0], spot[1] + step[1]), radius))


def _pinhole(site: _Site) -> bool:
    radius = site.uniform(2.0, 3.6)
    spot = site.pick(site.layout.copper < -(radius + 2.0))
    if spot is None:
        return False
    return site.etch(disc(site.where, site.centred(spot), radius))


PLANTERS: dict[int, Callable[[_Site], bool]] = {1: _open, 2: _short, 3: _mousebite, 4: _spur, 5: _copper, 6: _pinhole}
