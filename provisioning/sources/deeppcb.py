"""DeepPCB's boards (Tang et al. 2019), whole or cut into windows: 1,500 real boards of 640 x 640 binarised pixels, six kinds of faults.

The file is the packed copy described in docs/benchmarks.md: `test` bits, `boxes` [board, x1, y1, x2, y2, class], `split` (0 trainval,
1 official test), `name` of each board. Its groups are the boards' runs; some runs occur in the official test list only: "unseen".
"""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import msgspec
import numpy as np

from provisioning.sources.boxed import Boxed
from provisioning.sources.pool import Names, Pool
from shared.errors import InputError

FILE = "deeppcb_boards_1bit.npz"
SIZE_PX = 96
JITTER_PX = 12
NORMALS_PER_BOARD = 6
Board = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Boxes = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


class Boards(msgspec.Struct, frozen=True, kw_only=True):
    """The file's boards: packed bits, boxes, official split, names."""

    bits: Board
    boxes: Boxes
    split: Boxes
    name: Names
    classes: tuple[str, ...]


def load(folder: Path) -> Boards:
    """Read the boards.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = folder / FILE
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return Boards(
                bits=archive["test"],
                boxes=archive["boxes"].astype(np.int64),
                split=archive["split"].astype(np.int64),
                name=archive["name"],
                classes=tuple(str(name) for name in archive["classes"]),
            )
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        remedy = "Set TERRACE_DATA to the folder that holds it."
        raise InputError(f"DeepPCB's boards cannot be read from {path}: {error}.", remedy) from error


def whole(boards: Boards, *, official_test: bool) -> Boxed:
    """Return whole tested boards, grey, with a box around each fault; the template beside them is not used, as no line has one.

    Args:
        boards: what `load` read.
        official_test: the official test list's boards instead of trainval's.
    """
    chosen = np.flatnonzero(boards.split == int(official_test))
    own = boards.boxes[np.isin(boards.boxes[:, 0], chosen)]
    return Boxed(
        frames=(np.unpackbits(boards.bits[chosen], axis=2) * np.uint8(255))[..., None],
        boxes=own[:, 1:5].astype(np.float32),
        classes=own[:, 5] - 1,
        pictures=np.searchsorted(chosen, own[:, 0]),
        units=boards.name[chosen],
        groups=_groups(boards, chosen),
        names=boards.classes[1:],
    )


def _groups(boards: Boards, chosen: Boxes) -> Names:
    """Return per board whether trainval has boards of its run."""
    seen = {_group(str(name)) for name in boards.name[boards.split == 0]}
    return np.array(["seen" if _group(str(name)) in seen else "unseen" for name in boards.name[chosen]])


def cut(boards: Boards, *, official_test: bool, seed: int) -> Pool:
    """Cut windows: one around each fault, off centre by up to JITTER_PX, and NORMALS_PER_BOARD without any.

    Args:
        boards: what `load` read.
        official_test: the official test list's boards instead of trainval's.
        seed: of the jitter and of where normal windows lie.
    """
    seen = {_group(str(name)) for name in boards.name[boards.split == 0]}
    windows: list[Board] = []
    labels: list[int] = []
    spots: list[tuple[int, int]] = []
    units: list[str] = []
    groups: list[str] = []
    for board in np.flatnonzero(boards.split == int(official_test)):
        random, name = np.random.default_rng([seed, int(board)]), str(boards.name[board])
        own = boards.boxes[boards.boxes[:, 0] == board]
        for window, label, spot in [*_faulty(boards.bits[board], own, random), *_normal(boards.bits[board], own, random)]:
            windows.append(window)
            labels.append(label)
            spots.append(spot)
            units.append(name)
            groups.append("seen" if _group(name) in seen else "unseen")
    grey = np.stack(windows) * np.uint8(255)
    return Pool(
        frames=np.repeat(grey[..., None], 3, axis=3),
        labels=np.array(labels, np.int64),
        units=np.array(units),
        names=boards.classes,
        spots=np.array(spots, np.int16),
        groups=np.array(groups),
    )


def _group(name: str) -> str:
    """Return a board's run: the folder its name starts with."""
    return name.partition("/")[0]


def _faulty(bits: Board, boxes: Boxes, random: np.random.Generator) -> list[tuple[Board, int, tuple[int, int]]]:
    board, half, found = _unpacked(bits), SIZE_PX // 2, []
    for _, x1, y1, x2, y2, label in boxes.tolist():
        right, down = (int(value) for value in random.integers(-JITTER_PX, JITTER_PX + 1, 2))
        column, row = min(max((x1 + x2) // 2 + right, 0), 639), min(max((y1 + y2) // 2 + down, 0), 639)
        spot = (half + (x1 + x2) // 2 - column, half + (y1 + y2) // 2 - row)
        found.append((board[row : row + SIZE_PX, column : column + SIZE_PX], int(label), spot))
    return found


def _normal(bits: Board, boxes: Boxes, random: np.random.Generator) -> list[tuple[Board, int, tuple[int, int]]]:
    """Cut windows whose every pixel lies apart from all boxes; nearly empty and nearly full ones are drawn again."""
    board, half = _unpacked(bits), SIZE_PX // 2
    found: list[tuple[Board, int, tuple[int, int]]] = []
    for _ in range(200):
        if len(found) == NORMALS_PER_BOARD:
            break
        column, row = (int(value) for value in random.integers(half, 640 - half, 2))
        window = board[row : row + SIZE_PX, column : column + SIZE_PX]
        near = (boxes[:, 1] < column + half) & (boxes[:, 3] > column - half) & (boxes[:, 2] < row + half) & (boxes[:, 4] > row - half)
        if not near.any() and 0.1 < window.mean() < 0.9:
            found.append((window, 0, (-1, -1)))
    return found


def _unpacked(bits: Board) -> Board:
    """Return a board's pixels 0/1 with half a window of mirrored border, so that (row, column) indexes its window's corner."""
    return np.pad(np.unpackbits(bits, axis=1), SIZE_PX // 2, mode="reflect")
