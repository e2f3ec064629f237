"""The copper of one window of a board: traces, pads, vias, pours, each with a clearance to every other net.

Here: which shapes lie where. Not here: faults (defects), colours and light (optics). Pure numpy.
A layout is four fields: the copper, which net a pixel's nearest copper belongs to, the bare metal of pads, and drilled holes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

from provisioning.line.geometry import Field, Grid, box, capsule, disc, grid, half_plane

CLEARANCE_PX = 7.0
FAR = np.float32(99.0)
Random = np.random.Generator


class Layout:
    """Copper that grows shape by shape; a shape too near to another net is left out.

    Attributes:
        copper: signed distance to copper, drilled holes not counted.
        net: the net of the nearest copper, int16.
        bare: signed distance to pads free of solder mask.
        drill: signed distance to drilled holes.
    """

    def __init__(self, where: Grid) -> None:
        size = where.size
        self.where = where
        self.copper: Field = np.full((size, size), FAR, np.float32)
        self.bare: Field = np.full((size, size), FAR, np.float32)
        self.drill: Field = np.full((size, size), FAR, np.float32)
        self.net = np.zeros((size, size), np.int16)
        self.nets = 0

    def add(self, shape: Field, *, net: int | None = None) -> int | None:
        """Add copper.

        Args:
            shape: signed distance to it.
            net: the net it touches, or None for a net of its own.

        Returns:
            Its net, or None when it would come nearer than the clearance to another net and was left out.
        """
        near = shape < CLEARANCE_PX
        taken = near & (self.copper < 0)
        if net is not None:
            taken &= self.net != net
        if taken.any():
            return None
        if net is None:
            self.nets += 1
            net = self.nets
        self.net[shape < self.copper] = net
        np.minimum(self.copper, shape, out=self.copper)
        return net

    def pad(self, shape: Field, *, net: int | None = None, drill: Field | None = None) -> int | None:
        """Add a pad: copper without solder mask, drilled through or not; returns as `add` does."""
        placed = self.add(shape, net=net)
        if placed is not None:
            np.minimum(self.bare, shape + np.float32(0.6), out=self.bare)
            if drill is not None:
                np.minimum(self.drill, drill, out=self.drill)
        return placed

    def turned(self, quarter: int, *, mirrored: bool) -> Layout:
        """Return the layout turned by quarters of a circle and mirrored."""
        copy = Layout(self.where)
        for name in ("copper", "bare", "drill", "net"):
            field = np.rot90(getattr(self, name), quarter)
            setattr(copy, name, np.ascontiguousarray(field[:, ::-1] if mirrored else field))
        copy.nets = self.nets
        return copy


def draw(random: Random, size: int) -> Layout:
    """Return a random layout: one of four kinds of board area, then vias and traces where there is room."""
    kind: Callable[[Layout, Random], None] = (_bus, _footprint, _through_hole, _pour)[int(random.choice(4, p=(0.34, 0.2, 0.22, 0.24)))]
    layout = Layout(grid(size, 45.0 if random.random() < 0.3 else 0.0))
    kind(layout, random)
    for _ in range(int(random.integers(0, 3))):
        _via(layout, random)
    for _ in range(int(random.integers(0, 2))):
        _stray(layout, random)
    return layout.turned(int(random.integers(4)), mirrored=bool(random.integers(2)))


def _width(random: Random) -> float:
    return float(random.uniform(7.0, 11.0))


def _bus(layout: Layout, random: Random) -> None:
    """Parallel traces, with or without a 45 degree jog, some ending in a via."""
    width = _width(random)
    pitch = width + float(random.uniform(9.0, 15.0))
    reach = layout.where.size * 0.75
    jog, drop = float(random.uniform(-25, 25)), float(random.choice((-22.0, 0.0, 0.0, 22.0)))
    lean = math.copysign(pitch * 0.414, drop)
    for index in range(math.ceil(reach / pitch) * 2):
        if random.random() < 0.12:
            continue
        y = -reach + index * pitch + float(random.uniform(0, 1))
        bend = jog - lean * (index - reach / pitch)
        points = [(-reach, y), (bend, y), (bend + abs(drop), y + drop), (reach, y + drop)]
        if random.random() < 0.15:
            points = points[:2]
        net = _trace(layout, points, width)
        if net is not None and len(points) == 2:
            layout.pad(disc(layout.where, points[1], width * 0.5 + 2.4), net=net, drill=disc(layout.where, points[1], 2.6))


def _trace(layout: Layout, points: list[tuple[float, float]], width: float, net: int | None = None) -> int | None:
    shape = capsule(layout.where, points[0], points[1], width / 2)
    for start, end in itertools.pairwise(points[1:]):
        np.minimum(shape, capsule(layout.where, start, end, width / 2), out=shape)
    return layout.add(shape, net=net)


def _footprint(layout: Layout, random: Random) -> None:
    """One or two rows of rectangular pads, each with a trace that leaves outwards."""
    half = (float(random.uniform(7.0, 10.0)), float(random.uniform(11.0, 16.0)))
    pitch = half[0] * 2 + float(random.uniform(9.0, 14.0))
    shift, reach = float(random.uniform(-8, 8)), layout.where.size * 0.75
    rows = ((-1, float(random.uniform(16, 26))), (1, float(random.uniform(16, 26))))
    for side, distance in rows[: int(random.integers(1, 3))]:
        for index in range(-3, 4):
            middle = (shift + index * pitch, side * distance)
            net = layout.pad(box(layout.where, middle, half, 1.5))
            if net is not None and random.random() < 0.85:
                _trace(layout, [middle, (middle[0], side * reach)], float(random.uniform(6.0, 9.0)), net)


def _through_hole(layout: Layout, random: Random) -> None:
    """Round and oval drilled pads with traces between them and to the border."""
    reach = layout.where.size * 0.5
    for _ in range(int(random.integers(1, 4))):
        middle = (float(random.uniform(-reach, reach) * 0.85), float(random.uniform(-reach, reach) * 0.85))
        radius = float(random.uniform(11.0, 16.0))
        long = float(random.choice((0.0, 0.0, 8.0)))
        shape = capsule(layout.where, (middle[0] - long, middle[1]), (middle[0] + long, middle[1]), radius)
        net = layout.pad(shape, drill=disc(layout.where, middle, radius * float(random.uniform(0.32, 0.5))))
        if net is None:
            continue
        for _ in range(int(random.integers(1, 3))):
            angle = math.radians(45.0 * int(random.integers(8)))
            far = (middle[0] + 100 * math.cos(angle), middle[1] + 100 * math.sin(angle))
            _trace(layout, [middle, far], _width(random), net)


def _pour(layout: Layout, random: Random) -> None:
    """A large area of copper with a straight, round or rectangular border."""
    where, choice = layout.where, int(random.integers(3))
    spot = (float(random.uniform(-30, 30)), float(random.uniform(-30, 30)))
    if choice == 0:
        layout.add(half_plane(where, float(random.uniform(0, 2 * math.pi)), float(random.uniform(-15, 12))))
    elif choice == 1:
        layout.add(disc(where, spot, float(random.uniform(24, 42))))
    else:
        half = (float(random.uniform(18, 36)), float(random.uniform(18, 36)))
        layout.add(box(where, spot, half, float(random.uniform(3, 12))))
    _stray(layout, random)


def _via(layout: Layout, random: Random) -> None:
    """A plated hole apart from all pads; on a pour it takes the pour's net."""
    reach = layout.where.size * 0.48
    middle = (float(random.uniform(-reach, reach)), float(random.uniform(-reach, reach)))
    hole = float(random.uniform(2.2, 3.2))
    ring = disc(layout.where, middle, hole + 3.4)
    if (layout.bare[ring < CLEARANCE_PX] < 0).any():
        return
    nets = np.unique(layout.net[(ring < CLEARANCE_PX) & (layout.copper < 0)])
    layout.pad(ring, net=int(nets[0]) if len(nets) == 1 else None, drill=disc(layout.where, middle, hole))


def _stray(layout: Layout, random: Random) -> None:
    """A lone trace across the window, where it fits."""
    reach = layout.where.size * 0.75
    angle = math.radians(45.0 * int(random.integers(4)))
    offset = float(random.uniform(-45, 45))
    middle = (-offset * math.sin(angle), offset * math.cos(angle))
    step = (reach * math.cos(angle), reach * math.sin(angle))
    _trace(layout, [(middle[0] - step[0], middle[1] - step[1]), (middle[0] + step[0], middle[1] + step[1])], _width(random))
