"""Pictures with boxes to learn from, the crops of a step, and which cell of a detector's map answers for which box. Pure numpy.

Rules, in order:
1. A step's crops depend on the seed and the step's number alone, so that a training that was killed goes on as if it had not been.
2. Most crops hold a thing: its box lies whole inside, anywhere. The rest lie anywhere.
3. A box that a crop cuts down to less than half is neither a thing nor background: its cells teach nothing about classes.
4. The cells within 1.5 strides of a box's middle and inside the box answer for it; where two boxes claim a cell, the smaller one has
   it (FCOS with centre sampling, Tian et al. 2019).
"""

from __future__ import annotations

import msgspec
import numpy as np

from shared.errors import InputError

Frames = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Indices = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Random = np.random.Generator

WITH_THING = 0.9
"""Share of the crops that are laid around a box."""
FEWEST_VISIBLE = 0.5
REACH_STRIDES = 1.5
SIDE_STEP_PX = 32
"""The sides of whole pictures are multiples of this: the stride of a detector's coarsest map."""
PARTLY = -1
"""The class of a box that is cut down too far (rule 3)."""


class Scenes(msgspec.Struct, frozen=True, kw_only=True):
    """Pictures with boxes.

    `frames` uint8 (N, H, W, C), C 1 or 3; `boxes` float32 (M, 4), x1, y1, x2, y2 in pixels; `classes` int64 (M); `pictures` int64 (M),
    the picture of each box.
    """

    frames: Frames
    boxes: Floats
    classes: Indices
    pictures: Indices

    def __len__(self) -> int:
        """Return how many pictures there are."""
        return len(self.frames)

    def taken(self, picked: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> Scenes:
        """Return the pictures at these indices with their boxes."""
        places = {int(index): place for place, index in enumerate(picked)}
        kept = np.flatnonzero(np.isin(self.pictures, picked))
        pictures = np.array([places[int(index)] for index in self.pictures[kept]], np.int64)
        return Scenes(frames=self.frames[picked], boxes=self.boxes[kept], classes=self.classes[kept], pictures=pictures)


class Targets(msgspec.Struct, frozen=True, kw_only=True):
    """What the cells of a batch of maps should say.

    `pictures`, `cells` and `classes` int64 (K) name the cells that answer for a thing (a cell is row * width + column), `boxes` float32
    (K, 4) its box; `silent` (N, cells) marks the cells that teach nothing about classes.
    """

    pictures: Indices
    cells: Indices
    classes: Indices
    boxes: Floats
    silent: Mask


def check(scenes: Scenes, classes: int) -> None:
    """Refuse pictures and boxes no detector can learn from.

    Raises:
        InputError: no picture, no box, unlike lengths, a class or picture that does not exist, or a box without area.
    """
    count = len(scenes.boxes)
    if not len(scenes) or not count:
        raise InputError("there is no picture with a box to learn from.", "Give a data set with boxes.")
    if scenes.frames.ndim != 4 or scenes.frames.shape[3] not in {1, 3} or scenes.frames.dtype != np.uint8:
        raise InputError(f"the pictures have the shape {scenes.frames.shape}; wanted is uint8 (N, H, W, 1 or 3).")
    if not count == len(scenes.classes) == len(scenes.pictures):
        raise InputError("boxes, classes and pictures are not equally many.", "Prepare the data set again.")
    if scenes.classes.min() < 0 or scenes.classes.max() >= classes or scenes.pictures.min() < 0 or scenes.pictures.max() >= len(scenes):
        raise InputError("a box has a class or a picture that does not exist.", "Number both from 0.")
    if not ((scenes.boxes[:, 2:] - scenes.boxes[:, :2]) > 0).all():
        raise InputError("a box has no area.", "Give boxes as x1, y1, x2, y2 with x1 < x2 and y1 < y2.")


def crops(scenes: Scenes, *, side: int, count: int, turning: bool, random: Random) -> Scenes:
    """Return `count` varied squares of `side` pixels with what is left of the boxes in them (rules 2 and 3).

    Args:
        scenes: where they are cut from; pictures smaller than `side` are refused by their shape.
        side: pixels.
        count: how many.
        turning: whether a picture may be turned by quarters; mirrored it always may be.
        random: what is drawn from.
    """
    _, height, width, channels = scenes.frames.shape
    frames = np.empty((count, side, side, channels), np.uint8)
    parts: list[tuple[Floats, Indices]] = []
    for place in range(count):
        picture, corner = _place(scenes, side, (height, width), random)
        window = scenes.frames[picture, corner[1] : corner[1] + side, corner[0] : corner[0] + side]
        own = np.flatnonzero(scenes.pictures == picture)
        boxes, classes = clipped(scenes.boxes[own] - np.tile(corner, 2).astype(np.float32), scenes.classes[own], side)
        turns, flip = int(random.integers(4)) if turning else 0, bool(random.integers(2))
        frames[place] = np.rot90(window, turns)[:, ::-1] if flip else np.rot90(window, turns)
        parts.append((turned(boxes, side, turns, mirrored=flip), classes))
    pictures = np.repeat(np.arange(count), [len(classes) for _, classes in parts]).astype(np.int64)
    boxes, classes = np.concatenate([one for one, _ in parts]), np.concatenate([one for _, one in parts])
    return Scenes(frames=frames, boxes=boxes, classes=classes, pictures=pictures)


def _place(scenes: Scenes, side: int, size: tuple[int, int], random: Random) -> tuple[int, Indices]:
    """Return a picture and a corner (column, row) in it."""
    room = np.array([size[1] - side, size[0] - side], np.int64)
    if random.random() >= WITH_THING:
        return int(random.integers(len(scenes))), random.integers(0, room + 1)
    chosen = int(random.integers(len(scenes.boxes)))
    box = scenes.boxes[chosen]
    lowest = np.clip(np.ceil(box[2:]).astype(np.int64) - side, 0, room)
    highest = np.clip(np.floor(box[:2]).astype(np.int64), 0, room)
    return int(scenes.pictures[chosen]), random.integers(np.minimum(lowest, highest), np.maximum(lowest, highest) + 1)


def clipped(boxes: Floats, classes: Indices, side: int) -> tuple[Floats, Indices]:
    """Return the boxes that show in a square of `side` pixels, cut to it; those cut down too far have the class PARTLY."""
    cut = np.clip(boxes, 0, side).astype(np.float32)
    seen = area(cut)
    shown = seen > 0
    partly = seen < FEWEST_VISIBLE * area(boxes)
    return cut[shown], np.where(partly, PARTLY, classes)[shown].astype(np.int64)


def area(boxes: Floats) -> Floats:
    """Return the areas of boxes (K, 4)."""
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), np.float32)


def turned(boxes: Floats, side: int, turns: int, *, mirrored: bool) -> Floats:
    """Return boxes as they lie after `np.rot90(picture, turns)` of a square picture, mirrored left to right after that or not."""
    x1, y1, x2, y2 = boxes.T
    for _ in range(turns):
        x1, y1, x2, y2 = y1, side - x2, y2, side - x1
    if mirrored:
        x1, x2 = side - x2, side - x1
    return np.stack([x1, y1, x2, y2], axis=1).astype(np.float32)


def assigned(scenes: Scenes, *, stride: int) -> Targets:
    """Return which cell of the maps answers for which box (rule 4)."""
    count, side = len(scenes), scenes.frames.shape[1:3]
    height, width = side[0] // stride, side[1] // stride
    owner = np.full((count, height * width), -1, np.int64)
    silent = np.zeros((count, height * width), np.bool_)
    across, down = np.meshgrid((np.arange(width) + 0.5) * stride, (np.arange(height) + 0.5) * stride)
    for index in np.argsort(-area(scenes.boxes), kind="stable"):
        x1, y1, x2, y2 = scenes.boxes[index]
        inside = (across >= x1) & (across <= x2) & (down >= y1) & (down <= y2)
        if scenes.classes[index] == PARTLY:
            silent[scenes.pictures[index], inside.ravel()] = True
            continue
        reach = REACH_STRIDES * stride
        near = inside & (np.abs(across - (x1 + x2) / 2) < reach) & (np.abs(down - (y1 + y2) / 2) < reach)
        owner[scenes.pictures[index], near.ravel()] = index
    pictures, cells = np.nonzero(owner >= 0)
    owners = owner[pictures, cells]
    return Targets(pictures=pictures, cells=cells, classes=scenes.classes[owners], boxes=scenes.boxes[owners], silent=silent & (owner < 0))
