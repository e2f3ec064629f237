"""Labelled pictures as the foundry reads them: the .npz of a data set's split."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import msgspec
import numpy as np

from shared.errors import InputError
from shared.learning.samples import Frames, Labels, Samples, Spots
from shared.release.card import InputSpec


class Pictures(msgspec.Struct, frozen=True, kw_only=True):
    """One split: `frames` uint8 (N, H, W, 3), `labels` int64 (N), `units` (N), `names` of the classes, `spots` int16 (N, 2) or None."""

    frames: Frames
    labels: Labels
    units: tuple[str, ...]
    names: tuple[str, ...]
    spots: Spots | None = None

    @property
    def side(self) -> int:
        """The pictures' side in pixels (they are square)."""
        return int(self.frames.shape[1])

    @property
    def samples(self) -> Samples:
        """The pictures as samples to learn from."""
        return Samples(frames=self.frames, labels=self.labels, spots=self.spots)

    def evenly(self, count: int) -> Pictures:
        """Return at most `count` pictures, spread evenly over all."""
        return self.taken(np.unique(np.linspace(0, len(self.labels) - 1, min(count, len(self.labels))).round().astype(np.intp)))

    def taken(self, picked: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> Pictures:
        """Return the pictures at these indices."""
        return Pictures(
            frames=self.frames[picked],
            labels=self.labels[picked],
            units=tuple(self.units[int(index)] for index in picked),
            names=self.names,
            spots=None if self.spots is None else self.spots[picked],
        )


def input_spec(side: int) -> InputSpec:
    """Return what all networks of shared.learning take: RGB in 0..1, square."""
    return InputSpec(width=side, height=side)


def load(path: Path) -> Pictures:
    """Read a split.

    Raises:
        InputError: the file is missing, damaged, empty or holds no labelled square pictures.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            found = Pictures(
                frames=archive["frames"],
                labels=archive["labels"].astype(np.int64),
                units=tuple(str(unit) for unit in archive["units"]),
                names=tuple(str(name) for name in archive["names"]),
                spots=archive["spots"].astype(np.int16) if "spots" in archive.files else None,
            )
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(f"the pictures in {path} cannot be read: {error}.", "Prepare them with `terrace provision data`.") from error
    shape = found.frames.shape
    if found.frames.dtype != np.uint8 or len(shape) != 4 or not shape[0] or shape[1] != shape[2] or shape[3] != 3:
        raise InputError(f"the pictures in {path} have the shape {shape}.", "Wanted are square RGB pictures, uint8 (N, H, H, 3).")
    if not (len(found.labels) == len(found.units) == shape[0] and 0 <= found.labels.min() <= found.labels.max() < len(found.names)):
        raise InputError(f"the labels in {path} do not fit its pictures and classes.", "Prepare the data set again.")
    return found
