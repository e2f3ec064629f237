"""A small task for detection and segmentation tests: bright and dark blocks on a grey noise, each in its box, learned in a few steps."""

import numpy as np

from shared.learning.scenes import Scenes

NAMES = ("bright", "dark")


def plates(count: int, side: int = 64, seed: int = 0, blocks: int = 2) -> Scenes:
    """Grey pictures with `blocks` blocks of 10 to 20 px each, in separate quarters of the picture."""
    random = np.random.default_rng(seed)
    frames = random.integers(100, 140, (count, side, side, 1)).astype(np.uint8)
    boxes, classes, half = [], [], side // 2
    for frame in frames:
        for quarter in random.permutation(4)[:blocks]:
            width, height = random.integers(10, 21, 2)
            left = quarter % 2 * half + random.integers(0, half - width)
            top = quarter // 2 * half + random.integers(0, half - height)
            kind = int(random.integers(2))
            frame[top : top + height, left : left + width] = 20 if kind else 240
            boxes.append((left, top, left + width, top + height))
            classes.append(kind)
    pictures = np.repeat(np.arange(count), blocks)
    return Scenes(frames=frames, boxes=np.array(boxes, np.float32), classes=np.array(classes, np.int64), pictures=pictures)
