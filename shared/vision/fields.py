"""Smooth random fields over a picture, and blur. Pure numpy, of any size; used by what varies or ages a camera's optics."""

from __future__ import annotations

import math

import numpy as np

Field = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Random = np.random.Generator

SHARPEST_PX = 0.05
"""Below this a blur changes nothing."""


def smooth(height: int, width: int, cells: int, random: Random) -> Field:
    """Return a field (height, width) interpolated linearly between `cells` x `cells` normal values of variance 1."""
    coarse = random.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(_weights(height, cells) @ coarse @ _weights(width, cells).T, np.float32)


def _weights(length: int, cells: int) -> Field:
    """Return the matrix (length, cells) of the interpolation."""
    places = np.linspace(0, cells - 1, length)
    return np.asarray(np.clip(1 - np.abs(places[:, None] - np.arange(cells)[None, :]), 0, 1), np.float32)


def blurred(pictures: Field, sigmas: Floats) -> Field:
    """Return pictures float32 (N, H, W, C) blurred by a Gaussian each, separable, borders repeated.

    Args:
        pictures: what is blurred; never changed.
        sigmas: (N) standard deviation in pixels.
    """
    reach = max(1, math.ceil(2 * float(sigmas.max(initial=0.0))))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1)[:, None] / np.maximum(sigmas, SHARPEST_PX)) ** 2)
    taps = (taps / taps.sum(axis=0)).astype(np.float32)[..., None, None, None]
    for axis in (1, 2):
        length = pictures.shape[axis]
        padded = np.pad(pictures, [(reach, reach) if index == axis else (0, 0) for index in range(4)], mode="edge")
        total = np.zeros_like(pictures)
        for at, tap in enumerate(taps):
            total += tap * (padded[:, at : at + length] if axis == 1 else padded[:, :, at : at + length])
        pictures = total
    return pictures
