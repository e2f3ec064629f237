"""Pictures with the class of every pixel, and the varied batch of a step. Pure numpy; the same generator gives the same batch."""

from __future__ import annotations

import msgspec
import numpy as np

from shared.errors import InputError

Frames = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Random = np.random.Generator


class Masked(msgspec.Struct, frozen=True, kw_only=True):
    """Pictures `frames` uint8 (N, H, W, 3) and `masks` uint8 (N, H, W): the class of each pixel, 0 the background."""

    frames: Frames
    masks: Frames

    def __len__(self) -> int:
        """Return how many pictures there are."""
        return len(self.frames)


def check(samples: Masked, classes: int) -> None:
    """Refuse pictures and masks no network can learn from.

    Raises:
        InputError: none, of unlike shapes, or a pixel of a class that does not exist.
    """
    frames, masks = samples.frames, samples.masks
    if not len(samples) or frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise InputError(f"the pictures have the shape {frames.shape}; wanted is uint8 (N, H, W, 3).")
    if masks.shape != frames.shape[:3] or masks.dtype != np.uint8:
        raise InputError(f"the masks have the shape {masks.shape}; wanted is uint8 {frames.shape[:3]}.", "Give one mask for each picture.")
    if masks.max() >= classes:
        raise InputError(f"a pixel has the class {masks.max()} of {classes}.", "Number the classes from 0, the background.")


def varied(samples: Masked, *, count: int, turning: bool, random: Random) -> Masked:
    """Return `count` pictures drawn at random, mirrored and, where `turning`, turned by quarters, each with its mask alike."""
    picked = random.integers(0, len(samples), count)
    frames, masks = samples.frames[picked], samples.masks[picked]
    quarters = turning and frames.shape[1] == frames.shape[2]
    for place in range(count):
        turns, flip = int(random.integers(4)) if quarters else 0, bool(random.integers(2))
        for pictures in (frames, masks):
            moved = np.rot90(pictures[place], turns)
            pictures[place] = moved[:, ::-1].copy() if flip else moved.copy()
    return Masked(frames=frames, masks=masks)
