"""Pictures with masks as the foundry reads them, and how well a finished segmenter outlines what is on them."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import msgspec
import numpy as np

from cloud.foundry import predictions
from shared.errors import InputError
from shared.learning.masked import Masked, check
from shared.learning.samples import Frames
from shared.learning.segmenter import SIDE_STEP_PX
from shared.release.card import InputSpec
from shared.vision.tasks.masks import dice, mean_over_union, pixel_counts

PART = 128
"""Pictures whose answers lie in memory at once."""


class Outlines(msgspec.Struct, frozen=True, kw_only=True):
    """One split: pictures with masks, the unit of each picture, names of the classes (the first is the background)."""

    samples: Masked
    units: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def spec(self) -> InputSpec:
        """What a segmenter of these pictures takes: RGB in 0..1, the pictures' size."""
        return InputSpec(width=int(self.samples.frames.shape[2]), height=int(self.samples.frames.shape[1]))

    def evenly(self, count: int) -> Frames:
        """Return at most `count` pictures, spread evenly over all."""
        total = len(self.samples)
        return self.samples.frames[np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(np.intp))]


def load(path: Path) -> Outlines:
    """Read a split.

    Raises:
        InputError: the file is missing, damaged, empty, or of sides no segmenter takes.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            samples = Masked(frames=archive["frames"], masks=archive["masks"])
            units, names = (tuple(str(one) for one in archive[key]) for key in ("units", "names"))
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        remedy = "Prepare them with `terrace provision data --task segmentation`."
        raise InputError(f"the pictures in {path} cannot be read: {error}.", remedy) from error
    check(samples, len(names))
    if any(side % SIDE_STEP_PX for side in samples.frames.shape[1:3]):
        raise InputError(f"the pictures in {path} are {samples.frames.shape[1:3]} px.", f"Their sides must be multiples of {SIDE_STEP_PX}.")
    return Outlines(samples=samples, units=units, names=names)


def figures(onnx: Path, outlines: Outlines) -> dict[str, float]:
    """Return the mean intersection over union, and the mean Dice coefficient of the classes but the background, on a split."""
    counts = np.zeros((len(outlines.names), len(outlines.names)), np.int64)
    for start in range(0, len(outlines.samples), PART):
        part = slice(start, start + PART)
        found = predictions.logits(onnx, outlines.samples.frames[part], outlines.spec).argmax(axis=1)
        counts += pixel_counts(found, outlines.samples.masks[part], classes=len(outlines.names))
    coefficients = dice(counts)[1:]
    return {"mean_iou": mean_over_union(counts), "dice": float(np.nanmean(coefficients)) if np.isfinite(coefficients).any() else 0.0}
