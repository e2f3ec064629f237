"""Labelled pictures for training and how a batch of them is varied. Pure numpy: the same seed gives the same batches everywhere.

Not here: where they come from (provisioning.datasets, region's vault) and what is done with them (loop).
"""

from __future__ import annotations

import msgspec
import numpy as np

from shared.errors import InputError
from shared.learning.optics import rephotographed

Frames = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Labels = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
Spots = np.ndarray[tuple[int, ...], np.dtype[np.int16]]
Logits = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Random = np.random.Generator


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    """Pictures to learn from.

    `frames` is uint8 (N, H, W, 3); `labels` int64 (N), -1 where unknown; `logits` the expert's float32 (N, C), or None;
    `spots` int16 (N, 2) the column and row of what makes the label, -1 where it is nowhere in particular, or None.
    """

    frames: Frames
    labels: Labels
    logits: Logits | None = None
    spots: Spots | None = None

    def __len__(self) -> int:
        """Return how many pictures there are."""
        return len(self.labels)

    def taken(self, picked: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> Samples:
        """Return the samples at these indices."""
        logits = None if self.logits is None else self.logits[picked]
        spots = None if self.spots is None else self.spots[picked]
        return Samples(frames=self.frames[picked], labels=self.labels[picked], logits=logits, spots=spots)


class Augmentation(msgspec.Struct, frozen=True, kw_only=True):
    """How a picture may be varied without changing its label.

    `shift_px` moves it either way, its border repeated; `light` is the largest change of its brightness as a share; `optics` the
    share of pictures that are taken again by another lamp, lens and sensor (see optics).
    """

    mirror: bool = True
    upside_down: bool = True
    quarter_turns: bool = True
    shift_px: int = 6
    light: float = 0.0
    optics: float = 0.0


def check(samples: Samples, classes: int) -> None:
    """Refuse samples no network can learn from.

    Raises:
        InputError: empty, of unlike lengths, not RGB, or a label that is no class.
    """
    frames, labels = samples.frames, samples.labels
    if not len(labels):
        raise InputError("there is no picture to learn from.", "Give a data set with at least one picture.")
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or len(frames) != len(labels):
        raise InputError(f"the pictures have the shape {frames.shape} and there are {len(labels)} labels; wanted is uint8 (N, H, W, 3).")
    if labels.min() < -1 or labels.max() >= classes:
        raise InputError(f"a label lies outside the {classes} classes.", "Number the classes from 0.")


def cropped(samples: Samples, side: int, random: Random) -> Frames:
    """Return squares of `side` pixels that hold each picture's spot somewhere in their inner half, or lie anywhere.

    Learning to see what matters from close by first is several times faster than from whole pictures.
    """
    count, height, width, _ = samples.frames.shape
    anywhere = np.stack([random.integers(0, width, count), random.integers(0, height, count)], axis=1)
    spots = anywhere if samples.spots is None else np.where(samples.spots < 0, anywhere, samples.spots)
    corners = spots - side // 2 + random.integers(-side // 4, side // 4 + 1, (count, 2))
    corners = np.clip(corners, 0, (width - side, height - side))
    result = np.empty((count, side, side, 3), np.uint8)
    for index, (column, row) in enumerate(corners):
        result[index] = samples.frames[index, row : row + side, column : column + side]
    return result


def augmented(frames: Frames, how: Augmentation, random: Random) -> Frames:
    """Return varied copies of a batch, same shape and order; quarter turns are taken only for square pictures."""
    count, height, width, _ = frames.shape
    reach = how.shift_px
    padded = np.pad(frames, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge") if reach else frames
    shifts = random.integers(0, 2 * reach + 1, (count, 2))
    turns = random.integers(0, 4, count) * (how.quarter_turns and height == width)
    flips = random.integers(0, 2, (count, 2)).astype(bool) & np.array([how.upside_down, how.mirror])
    result = np.empty_like(frames)
    for index, (down, right) in enumerate(shifts):
        view = np.rot90(padded[index, down : down + height, right : right + width], int(turns[index]))
        view = view[::-1] if flips[index, 0] else view
        result[index] = view[:, ::-1] if flips[index, 1] else view
    result = _lit(result, how.light, random) if how.light else result
    return rephotographed(result, how.optics, random) if how.optics else result


def _lit(frames: Frames, share: float, random: Random) -> Frames:
    """Return the frames with their brightness multiplied by 1 ± share, each by its own factor."""
    gains = random.uniform(1 - share, 1 + share, (len(frames), 1, 1, 1)).astype(np.float32)
    return np.asarray(np.clip(frames.astype(np.float32) * gains, 0, 255), np.uint8)
