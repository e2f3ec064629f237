"""A folder of the user's with one sub-folder of pictures per class.

A picture is its own unit, unless its name has a part before a double underscore (`board7__3.png`): that part names the unit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from provisioning.sources.pool import Frames, Pool, pool
from shared.errors import InputError
from shared.vision import stills
from shared.vision.stills import SUFFIXES

SIZE_PX = 96
FEWEST_PER_CLASS = 20


def load(folder: Path) -> Pool:
    """Read all pictures, resized to SIZE_PX squared, RGB; the classes are the sub-folders in alphabetical order.

    Raises:
        InputError: no folder, fewer than two classes, too few pictures of a class, or a file that is no picture.
    """
    found = classes(folder)
    frames: list[Frames] = []
    labels: list[int] = []
    units: list[str] = []
    for label, path in enumerate(found):
        files = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES)
        if len(files) < FEWEST_PER_CLASS:
            raise InputError(f"{path} holds {len(files)} pictures.", f"Give at least {FEWEST_PER_CLASS} per class ({', '.join(SUFFIXES)}).")
        frames += [_picture(one) for one in files]
        labels += [label] * len(files)
        units += [_unit(one) for one in files]
    return pool(np.stack(frames), np.array(labels, np.int64), np.array(units), [path.name for path in found])


def classes(folder: Path) -> list[Path]:
    """Return the sub-folders, one per class, in alphabetical order.

    Raises:
        InputError: no folder, or fewer than two classes.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}.", "Give line, deeppcb, fashion-mnist, or a folder with one sub-folder per class.")
    found = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(found) < 2:
        raise InputError(f"{folder} has {len(found)} sub-folders with pictures.", "Put the pictures of each class into a sub-folder.")
    return found


def _unit(path: Path) -> str:
    stem, separator, _ = path.stem.partition("__")
    return stem if separator else f"{path.parent.name}/{path.stem}"


def _picture(path: Path) -> Frames:
    return np.asarray(Image.fromarray(stills.read(path)).resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX))
