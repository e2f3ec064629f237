"""Pictures as other lamps, lenses and sensors would have taken them: for models that must hold when a site's optics drift.

Wider and more varied than any one drift: every picture draws its own tone curve, tint, lamp, stains, blur and noise, each present or not.
Pure numpy; the same generator gives the same pictures.

Rules, in order: tone (gain, gamma, stray light and tint, by a table per picture and channel); stains; lamp; lens; sensor.
"""

from __future__ import annotations

import math

import numpy as np

from shared.vision.fields import Field, Floats, Random, blurred, smooth

Frames = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

LARGEST_STAINED = 0.5
LARGEST_BLUR_PX = 1.5
LARGEST_NOISE = 14.0
REFERENCE_SIDE_PX = 96.0


def rephotographed(frames: Frames, share: float, random: Random) -> Frames:
    """Return a batch in which about `share` of the pictures have other optics.

    Args:
        frames: uint8 (N, H, W, 3); never changed.
        share: 0 to 1.
        random: what is drawn from.
    """
    chosen = np.flatnonzero(random.random(len(frames)) < share)
    if not len(chosen):
        return frames
    pictures = _toned(frames[chosen], random)
    pictures = _stained(pictures, random)
    pictures *= _lamps(pictures.shape, random)
    pictures = blurred(pictures, _sharpness(pictures.shape, random))
    pictures += _grain(pictures.shape, random)
    result: Frames = frames.copy()
    result[chosen] = np.clip(np.rint(pictures), 0, 255).astype(np.uint8)
    return result


def _toned(frames: Frames, random: Random) -> Field:
    """Apply to each picture and channel its own curve: (value ** gamma) * gain + stray light."""
    count = len(frames)
    gamma = np.exp(random.uniform(-0.4, 0.4, (count, 1, 1)))
    gain = random.uniform(0.65, 1.3, (count, 1, 1)) * random.uniform(0.88, 1.12, (count, 3, 1))
    stray = random.uniform(-45, 65, (count, 1, 1)) * (random.random((count, 1, 1)) < 0.7)
    levels = np.linspace(0, 1, 256)[None, None, :]
    tables = (255 * gain * levels**gamma + stray).astype(np.float32)
    picture, channel = np.arange(count)[:, None, None, None], np.arange(3)[None, None, None, :]
    return np.asarray(tables[picture, channel, frames], np.float32)


def _stained(pictures: Field, random: Random) -> Field:
    """Cover parts of each picture with stains of any colour, from a few large to many small ones."""
    count, height, width, _ = pictures.shape
    covers = random.uniform(0, LARGEST_STAINED, count) * (random.random(count) < 0.6)
    colours = random.uniform(20, 220, (count, 1, 1, 3)).astype(np.float32)
    thickness = np.zeros((count, height, width, 1), np.float32)
    for index in np.flatnonzero(covers):
        field = smooth(height, width, int(random.integers(3, 9)), random) + 0.5 * smooth(height, width, int(random.integers(8, 20)), random)
        thickness[index, ..., 0] = np.clip(field + random.uniform(-0.4, 0.6), 0, 1) * covers[index]
    return np.asarray(pictures + thickness * (colours - pictures), np.float32)


def _lamps(shape: tuple[int, ...], random: Random) -> Field:
    """Return each picture's light: a slope in any direction, and darker (or lighter) corners."""
    count, height, width, _ = shape
    angle, slope = random.uniform(0, 2 * math.pi, count), random.uniform(0, 0.9, count)
    corners = random.uniform(-0.4, 0.2, count)
    down, right = np.linspace(-0.5, 0.5, height), np.linspace(-0.5, 0.5, width)
    radius = down[:, None] ** 2 + right[None, :] ** 2
    rows, columns = (slope * np.sin(angle))[:, None] * down, (slope * np.cos(angle))[:, None] * right
    light = 1 + rows[:, :, None] + columns[:, None, :] + corners[:, None, None] * radius
    return np.asarray(light[..., None], np.float32)


def _sharpness(shape: tuple[int, ...], random: Random) -> Floats:
    """Return each picture's blur in pixels; about a third stay sharp."""
    scale = math.sqrt(min(shape[1:3]) / REFERENCE_SIDE_PX)
    return np.maximum(random.uniform(-0.5 * LARGEST_BLUR_PX, LARGEST_BLUR_PX, shape[0]), 0.0) * min(1.0, scale)


def _grain(shape: tuple[int, ...], random: Random) -> Field:
    """Return each picture's noise: none in about a third, grey or coloured."""
    count = shape[0]
    levels = np.maximum(random.uniform(-0.5 * LARGEST_NOISE, LARGEST_NOISE, count), 0).astype(np.float32)
    grain = random.standard_normal(shape, dtype=np.float32)
    grey = random.random(count) < 0.25
    grain[grey] = grain[grey][..., :1]
    return np.asarray(grain * levels[:, None, None, None], np.float32)
