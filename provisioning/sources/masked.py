"""A pool of pictures whose truth is the class of each pixel, and its file. Pure but `save`."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from provisioning.sources.pool import Frames, Names


class Masked(msgspec.Struct, frozen=True, kw_only=True):
    """Pictures of one origin with masks.

    `frames` uint8 (N, H, W, 3); `masks` uint8 (N, H, W), the class of each pixel, 0 the background; `units` (N); `names` of the classes.
    """

    frames: Frames
    masks: Frames
    units: Names
    names: tuple[str, ...]


def save(path: Path, content: Masked) -> Path:
    """Write a pool as .npz (frames, masks, units, names) and return the path; equal pools, equal bytes."""
    units, names = content.units.astype(np.str_), np.array(content.names)
    np.savez_compressed(path, frames=content.frames, masks=content.masks, units=units, names=names)
    return path
