"""A pool of pictures with boxes around what is on them, and how it is split: by unit, as a pool of labelled pictures is. Pure but `save`.

Not here: where they come from (deeppcb) and what learns from them (shared.learning.scenes reads the same file).
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from provisioning.sources.pool import Frames, Labels, Names, Picked

Boxes = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


class Boxed(msgspec.Struct, frozen=True, kw_only=True):
    """Pictures of one origin with boxes.

    `frames` uint8 (N, H, W, C), C 1 (grey) or 3 (RGB); `boxes` float32 (M, 4), x1, y1, x2, y2 in pixels; `classes` int64 (M); `pictures`
    int64 (M) the picture of each box; `units` and `groups` (N) as in a pool; `names` of the classes.
    """

    frames: Frames
    boxes: Boxes
    classes: Labels
    pictures: Labels
    units: Names
    groups: Names
    names: tuple[str, ...]

    def taken(self, picked: Picked) -> Boxed:
        """Return the pictures at these indices, with their boxes."""
        place = np.full(len(self.units), -1, np.int64)
        place[picked] = np.arange(len(picked))
        kept = np.flatnonzero(place[self.pictures] >= 0)
        return Boxed(
            frames=self.frames[picked],
            boxes=self.boxes[kept],
            classes=self.classes[kept],
            pictures=place[self.pictures[kept]],
            units=self.units[picked],
            groups=self.groups[picked],
            names=self.names,
        )


def save(path: Path, content: Boxed) -> Path:
    """Write a pool as .npz (frames, boxes, classes, pictures, units, groups, names) and return the path; equal pools, equal bytes."""
    np.savez_compressed(
        path,
        frames=content.frames,
        boxes=content.boxes,
        classes=content.classes,
        pictures=content.pictures,
        units=content.units.astype(np.str_),
        groups=content.groups.astype(np.str_),
        names=np.array(content.names),
    )
    return path
