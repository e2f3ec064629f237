"""A map of classes as outlines: the borders of each class's areas as SVG path data, for the page that shows pictures. Pure.

Rules, in order:
1. Borders run between pixels, in straight pieces along rows and columns, in the map's own pixels; the background (class 0) has none.
2. A map whose borders are longer than `MOST_PIECES` pieces is halved until they are not: nobody sees a finer one, and pages stay small.

Example:
    >>> outlines(np.array([[0, 1], [0, 0]])).paths
    {1: 'M1 0H2M1 1H2M1 0V1M2 0V1'}
"""

from __future__ import annotations

import msgspec
import numpy as np

from shared.vision.tasks.masks import Map

MOST_PIECES = 2000
_Flags = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


class Outlines(msgspec.Struct, frozen=True, kw_only=True):
    """The size of the map they are drawn in, and the path data by class."""

    width: int
    height: int
    paths: dict[int, str]


def outlines(classes: Map) -> Outlines:
    """Return the outlines of a map, integers of shape (height, width), at least one pixel."""
    while True:
        pieces = {label: _pieces(classes == label) for label in np.unique(classes).tolist() if label > 0}
        if sum(map(len, pieces.values())) <= MOST_PIECES or min(classes.shape) < 2:
            paths = {label: "".join(found) for label, found in pieces.items()}
            return Outlines(width=classes.shape[1], height=classes.shape[0], paths=paths)
        classes = classes[::2, ::2]


def _pieces(inside: _Flags) -> list[str]:
    padded = np.pad(inside, 1)
    rows = [f"M{start} {line}H{end}" for line, start, end in _runs((padded[1:] != padded[:-1])[:, 1:-1])]
    columns = [f"M{line} {start}V{end}" for line, start, end in _runs((padded[:, 1:] != padded[:, :-1])[1:-1].T)]
    return rows + columns


def _runs(flags: _Flags) -> list[tuple[int, int, int]]:
    """Return the runs of set flags in each line: line, start, end."""
    changes = np.diff(np.pad(flags, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    lines, starts = np.nonzero(changes == 1)
    ends = np.nonzero(changes == -1)[1]
    return list(zip(lines.tolist(), starts.tolist(), ends.tolist(), strict=True))
