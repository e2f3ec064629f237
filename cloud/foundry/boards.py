"""Pictures with boxes as the foundry reads them: the .npz of a detection set's split."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import msgspec
import numpy as np

from shared.errors import InputError
from shared.learning.scenes import SIDE_STEP_PX, Frames, Scenes, check
from shared.release.card import InputSpec


class Boards(msgspec.Struct, frozen=True, kw_only=True):
    """One split: pictures with boxes, the unit and the group of each picture, names of the classes."""

    scenes: Scenes
    units: tuple[str, ...]
    groups: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def spec(self) -> InputSpec:
        """What a detector of these pictures takes: RGB in 0..1, the pictures' size."""
        return InputSpec(width=int(self.scenes.frames.shape[2]), height=int(self.scenes.frames.shape[1]))

    def evenly(self, count: int) -> Frames:
        """Return at most `count` pictures as RGB, spread evenly over all."""
        total = len(self.scenes)
        return rgb(self.scenes.frames[np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(np.intp))])


def rgb(frames: Frames) -> Frames:
    """Return pictures of one or three channels as RGB, uint8 (N, H, W, 3)."""
    return frames if frames.shape[3] == 3 else np.repeat(frames, 3, axis=3)


def load(path: Path) -> Boards:
    """Read a split.

    Raises:
        InputError: the file is missing, damaged, empty, without a box, or of sides no detector takes.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            scenes = Scenes(
                frames=archive["frames"],
                boxes=archive["boxes"].astype(np.float32),
                classes=archive["classes"].astype(np.int64),
                pictures=archive["pictures"].astype(np.int64),
            )
            units, groups, names = (tuple(str(one) for one in archive[key]) for key in ("units", "groups", "names"))
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        remedy = "Prepare them with `terrace provision data --task detection`."
        raise InputError(f"the pictures in {path} cannot be read: {error}.", remedy) from error
    check(scenes, len(names))
    if any(side % SIDE_STEP_PX for side in scenes.frames.shape[1:3]):
        raise InputError(f"the pictures in {path} are {scenes.frames.shape[1:3]} px.", f"Their sides must be multiples of {SIDE_STEP_PX}.")
    return Boards(scenes=scenes, units=units, groups=groups, names=names)
