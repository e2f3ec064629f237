"""Boards: each is one unit of several windows, all of one look. Deterministic by seed; board k does not depend on how many follow.

Example:
    >>> windows = generate(seed=1, boards=2, windows=3)
    >>> windows.frames.shape, windows.units[0]
    ((6, 96, 96, 3), 'board-1-00000')
"""

from __future__ import annotations

import msgspec
import numpy as np

from provisioning.line.defects import NAMES, Fault, plant
from provisioning.line.geometry import smooth_noise
from provisioning.line.layout import Random, draw
from provisioning.line.optics import Conditions, Pixels, Style, photograph, style

SIZE_PX = 96
WINDOWS_PER_BOARD = 12
DEFECT_SHARE = 0.5
Labels = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
Units = np.ndarray[tuple[int, ...], np.dtype[np.str_]]
Spots = np.ndarray[tuple[int, ...], np.dtype[np.int16]]
Masks = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """Labelled windows: `frames` uint8 (N, H, W, 3) RGB, `labels` int64 (N), `units` the board of each.

    `spots` int16 (N, 2) is the column and row of the fault's middle, -1 where there is none; `masks` uint8 (N, H, W) the label of each
    pixel, 0 where there is no fault.
    """

    frames: Pixels
    labels: Labels
    units: Units
    spots: Spots
    masks: Masks
    names: tuple[str, ...] = NAMES


def generate(
    *,
    seed: int,
    boards: int,
    windows: int = WINDOWS_PER_BOARD,
    size: int = SIZE_PX,
    defect_share: float = DEFECT_SHARE,
    conditions: Conditions = Conditions(),  # noqa: B008 - frozen, so sharing the default is safe
    first_board: int = 0,
) -> Windows:
    """Return the windows of `boards` boards.

    Args:
        seed: names the production run; the same seed gives the same boards.
        boards: how many.
        windows: windows per board.
        size: pixels along a window's side.
        defect_share: share of windows with a defect, its kind drawn evenly from the six.
        conditions: lamp, lens and sensor.
        first_board: number of the first board, to go on where an earlier call ended.
    """
    frames = np.empty((boards * windows, size, size, 3), np.uint8)
    labels = np.empty(boards * windows, np.int64)
    spots = np.empty((boards * windows, 2), np.int16)
    masks = np.zeros((boards * windows, size, size), np.uint8)
    units: list[str] = []
    for index in range(boards):
        board = first_board + index
        random = np.random.default_rng([seed, board])
        look = style(random, conditions)
        for place in range(index * windows, (index + 1) * windows):
            kind = int(random.integers(1, len(NAMES))) if random.random() < defect_share else 0
            frames[place], fault = _window(random, kind, look, conditions, size)
            spots[place], labels[place] = np.rint(fault.middle), kind
            masks[place][fault.pixels] = kind
        units += [f"board-{seed}-{board:05d}"] * windows
    return Windows(frames=frames, labels=labels, units=np.array(units), spots=spots, masks=masks)


def _window(random: Random, kind: int, look: Style, conditions: Conditions, size: int) -> tuple[Pixels, Fault]:
    """Draw layouts until the fault fits, then photograph; every kind fits within a few layouts."""
    while True:
        layout = draw(random, size)
        rough = smooth_noise(random, size, 5)
        fault = plant(kind, layout, random, rough)
        if fault is not None:
            return photograph(layout, look, conditions, random, rough), fault
