"""What is on the pictures of a segmenter: a map of classes beside each picture, as most tools for painting masks write them.

    folder/images/a.jpg, folder/masks/a.png     an index picture: the value of a pixel is the number of its class, 0 the background
    a value of 255 (UNKNOWN)                     nobody knows what this pixel shows: it counts nowhere

Either every picture has a mask or none has.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from shared.errors import InputError
from shared.vision.picture import LARGEST_PIXELS
from shared.vision.tasks.masks import Counts, Map, pixel_counts

UNKNOWN = 255
INDEXED = ("P", "L", "1")
REMEDY = "Save it as a PNG of one channel (mode P or L) whose values are the numbers of the classes."


def beside(files: Sequence[Path]) -> list[Path] | None:
    """Return the mask of each picture, None where no picture has one.

    Args:
        files: the pictures.

    Raises:
        InputError: some have one and some have not.
    """
    masks = [file.parent.parent / "masks" / f"{file.stem}.png" for file in files]
    there = [mask.is_file() for mask in masks]
    if not any(there):
        return None
    if not all(there):
        missing = files[there.index(False)]
        remedy = f"Paint {masks[there.index(False)].name}, {UNKNOWN} where nobody knows, or take the picture away."
        raise InputError(f"{there.count(False)} of {len(files)} pictures have no mask, such as {missing}.", remedy)
    return masks


def read(path: Path, *, classes: int) -> Map:
    """Return the class of each pixel of a mask, uint8 (rows, columns), UNKNOWN where nobody knows.

    Args:
        path: the mask.
        classes: how many classes there are, the background among them.

    Raises:
        InputError: it is no picture of indices, too large, or names a class that does not exist.
    """
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.width * image.height > LARGEST_PIXELS or image.mode not in INDEXED:
                raise InputError(f"the mask {path} has {image.width}x{image.height} pixels of mode {image.mode}.", REMEDY)
            values = np.asarray(image).astype(np.uint8)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"the mask {path} cannot be read: {error}.", REMEDY) from error
    highest = int(values[values != UNKNOWN].max(initial=0))
    if highest >= classes:
        raise InputError(f"{path} names the class {highest}, there are {classes}.", "Classes are counted from 0, the background.")
    return values


def compared(found: Map, truth: Map, *, classes: int) -> Counts:
    """Count the pixels of one picture by true and found class, at the size of what was found.

    Args:
        found: integers (rows, columns).
        truth: integers of any size, UNKNOWN where nobody knows.
        classes: how many there are.

    Returns:
        int64 (classes, classes): row is the truth, column what was found.
    """
    rows = ((np.arange(found.shape[0]) + 0.5) * truth.shape[0] / found.shape[0]).astype(np.intp)
    columns = ((np.arange(found.shape[1]) + 0.5) * truth.shape[1] / found.shape[1]).astype(np.intp)
    there = truth[rows[:, None], columns[None]]
    known = there != UNKNOWN
    return pixel_counts(found[known].clip(0, classes - 1), there[known], classes=classes)


def agreeing(counts: Counts, *, least: float) -> bool:
    """Tell whether every class but the background that is there or was found overlaps by at least `least`."""
    common = np.diagonal(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - common
    return bool((common[1:] >= least * union[1:]).all())
