"""A small task for training tests: squares of three colours on noise, learned in a few steps."""

import numpy as np

from shared.learning.samples import Samples


def colours(count: int, side: int = 24, seed: int = 0, shift: int = 0) -> Samples:
    """Squares of three colours on noise: easy enough to learn in a few steps. `shift` moves all grey levels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    frames = random.integers(60, 120, (count, side, side, 3))
    spots = random.integers(6, side - 6, (count, 2))
    for index, (column, row) in enumerate(spots):
        frames[index, row - 3 : row + 3, column - 3 : column + 3, labels[index]] += 110
    return Samples(frames=np.clip(frames + shift, 0, 255).astype(np.uint8), labels=labels.astype(np.int64), spots=spots.astype(np.int16))
