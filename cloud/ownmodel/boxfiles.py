"""What is on the pictures of a detector: text files in the form that most tools for drawing boxes write.

    folder/images/a.jpg, folder/labels/a.txt       or both beside each other
    a line:  CLASS CENTRE_X CENTRE_Y WIDTH HEIGHT   the class by number, the rest as shares of the picture

A picture without a file has nothing on it; where no picture has one, nothing is known of any.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shared.errors import InputError
from shared.vision.tasks.precision import Truth


def images(folder: Path) -> Path:
    """Return where the pictures of a folder lie: in its sub-folder `images`, if it has one."""
    return folder / "images" if (folder / "images").is_dir() else folder


def truths(files: Sequence[Path], *, classes: int, width: int, height: int) -> list[Truth] | None:
    """Return what is on each picture, in pixels of a network's input; None where no picture has a file.

    Args:
        files: the pictures.
        classes: how many classes there are.
        width: of the network's input, pixels.
        height: of the network's input, pixels.

    Raises:
        InputError: a file cannot be read, or names a class or a box that cannot be.
    """
    beside = [_beside(file) for file in files]
    if not any(path.is_file() for path in beside):
        return None
    return [_truth(path, classes=classes, size=(width, height)) for path in beside]


def _beside(picture: Path) -> Path:
    near = picture.with_suffix(".txt")
    return near if near.is_file() else picture.parent.parent / "labels" / near.name


def _truth(path: Path, *, classes: int, size: tuple[int, int]) -> Truth:
    rows = _rows(path) if path.is_file() else []
    boxes, kinds = np.zeros((len(rows), 4), np.float32), np.zeros(len(rows), np.int64)
    for index, (kind, x, y, wide, high) in enumerate(rows):
        if kind != int(kind) or not 0 <= kind < classes:
            raise InputError(f"{path} names the class {kind:g}, there are {classes}.", "Classes are counted from 0, as in the labels.")
        boxes[index] = [(x - wide / 2) * size[0], (y - high / 2) * size[1], (x + wide / 2) * size[0], (y + high / 2) * size[1]]
        kinds[index] = int(kind)
    return Truth(boxes=boxes, classes=kinds)


def _rows(path: Path) -> list[tuple[float, ...]]:
    try:
        rows = [tuple(float(value) for value in line.split()) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"the boxes {path} cannot be read: {error}.", "A line is CLASS CENTRE_X CENTRE_Y WIDTH HEIGHT.") from error
    for row in rows:
        if len(row) != 5 or not all(math.isfinite(value) for value in row) or not all(-0.01 <= value <= 1.01 for value in row[1:]):
            raise InputError(f"{path} has a line that is no box.", "A line is CLASS CENTRE_X CENTRE_Y WIDTH HEIGHT, shares of the picture.")
    return rows
