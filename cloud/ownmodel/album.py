"""The user's pictures: which files there are, what they show, what belongs together, and their pixels in a network's size.

    folder/screw/a.jpg, folder/nail/b.jpg      one sub-folder per class, named as in the labels (or by the class's number)
    folder/a.jpg, folder/b.jpg                 no labels: the expert says what they show

A picture is its own unit, unless its name has a part before a double underscore (`board7__3.png`): that part names the unit.

Pixels are brought into a network's input as a device does it with its frames (shared.vision.preprocess), so that what is measured here is
what devices do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from shared.errors import InputError
from shared.learning.samples import Frames, Labels
from shared.release.card import InputSpec
from shared.vision import stills
from shared.vision.fit import Size
from shared.vision.preprocess import fitted
from shared.vision.stills import SUFFIXES

MOST_PICTURES = 4000
UNKNOWN = -1


class Album(msgspec.Struct, frozen=True, kw_only=True):
    """Files with their labels (UNKNOWN for all of them where the folder has no classes), units, and the names of the classes."""

    files: tuple[Path, ...]
    labels: tuple[int, ...]
    units: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def labelled(self) -> bool:
        """Whether it is known what the pictures show."""
        return UNKNOWN not in self.labels

    @property
    def unseen(self) -> tuple[str, ...]:
        """Classes without a single picture."""
        seen = set(self.labels)
        return tuple(name for index, name in enumerate(self.names) if index not in seen) if self.labelled else ()

    def label_array(self) -> Labels:
        """Return the labels as int64 (N)."""
        return np.array(self.labels, np.int64)

    def key(self) -> bytes:
        """Return what the pictures depend on: names, sizes and times of change of the files."""
        digest = hashlib.sha256()
        for path in self.files:
            state = path.stat()
            digest.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
        return digest.hexdigest().encode()


def read_labels(path: Path) -> tuple[str, ...]:
    """Return the class names of a text file, one per line in the order of the model's outputs; empty lines at the end are left out.

    Raises:
        InputError: it cannot be read, or has fewer than two names, an empty or a repeated one.
    """
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the labels {path} cannot be read: {error}.", "Give a text file with one class name per line.") from error
    if len(names) < 2 or "" in names:
        raise InputError(f"{path} names {len(names)} classes or has an empty line.", "Write one class name per line, in the model's order.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path} names {twice[0]!r} twice.", "Give every class a name of its own.")
    return tuple(names)


def find(folder: Path, names: Sequence[str] = (), *, most: int = MOST_PICTURES) -> Album:
    """Look through a folder of pictures; of more than `most`, those with the lowest hash are taken, whole units at a time as they come.

    Args:
        folder: with sub-folders of classes, or of pictures alone.
        names: the classes in the model's order; none takes the sub-folders in alphabetical order.
        most: pictures at most.

    Raises:
        InputError: no folder, no pictures, or a sub-folder that is no class.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}.", "Give a folder of pictures, best with one sub-folder per class.")
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    names = tuple(names) or tuple(path.name for path in inner)
    if inner:
        entries = [(file, _class(path, names)) for path in inner for file in _pictures(path)]
    else:
        entries = [(file, UNKNOWN) for file in _pictures(folder)]
    if not entries:
        raise InputError(f"there are no pictures in {folder}.", f"Pictures end in {', '.join(SUFFIXES)}.")
    taken = sorted(entries, key=lambda one: (hash_of(_unit(one[0])), one[0].name))[:most]
    return Album(
        files=tuple(file for file, _ in taken),
        labels=tuple(label for _, label in taken),
        units=tuple(_unit(file) for file, _ in taken),
        names=names,
    )


def pixels(files: Sequence[Path], spec: InputSpec, *, done: Callable[[int], None], out: Path) -> Labels:
    """Write the files' pictures to an .npy, uint8 (N, height, width, 3), one after the other.

    Args:
        files: the pictures.
        spec: the input of the network that is to see them.
        done: told how many are written.
        out: the .npy file.

    Returns:
        Height and width of each file's picture, int64 (N, 2).

    Raises:
        InputError: a file is no picture, or too large.
    """
    frames = np.lib.format.open_memmap(out, mode="w+", dtype=np.uint8, shape=(len(files), spec.height, spec.width, 3))
    sizes = np.zeros((len(files), 2), np.int64)
    for index, file in enumerate(files):
        frames[index], sizes[index] = picture(file, spec)
        done(index + 1)
    frames.flush()
    return sizes


def picture(file: Path, spec: InputSpec) -> tuple[Frames, Size]:
    """Return one picture as devices bring it into a network's input, uint8 RGB (height, width, 3), and its own height and width.

    Raises:
        InputError: it is no picture, or too large.
    """
    whole = stills.read(file)
    return fitted(whole[None], spec)[0], (whole.shape[0], whole.shape[1])


def hash_of(unit: str) -> int:
    """Return a number that a unit's name draws, the same on every machine, 0 to 2**64 - 1."""
    return int.from_bytes(hashlib.sha256(f"terrace/1/album/{unit}".encode()).digest()[:8], "big")


def _class(folder: Path, names: Sequence[str]) -> int:
    if folder.name in names:
        return list(names).index(folder.name)
    if folder.name.isdigit() and int(folder.name) < len(names):
        return int(folder.name)
    raise InputError(f"the sub-folder {folder} is no class of the model.", f"Name it after one of: {', '.join(names[:12])}.")


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def _unit(path: Path) -> str:
    stem, separator, _ = path.stem.partition("__")
    return stem if separator else f"{path.parent.name}/{path.stem}"
