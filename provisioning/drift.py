"""A drift of a site's optics: an ageing lamp, a lens out of focus, oxidised boards, a warmer sensor. Works on any data set's frames.

Pure numpy. Rules, in order: oxidation (blotches of another colour on the object); the lamp (a gradient across the picture and more
stray light); the lens (blur); the sensor (noise, rounding). Everything grows with `strength`: 0 changes nothing, 1 is the most
that a person would still call the same object.

What belongs to the site (the lamp's direction, the oxide's colour) is drawn from the seed alone; what belongs to one frame is drawn from
seed and frame, so that it is the same in whatever array the frame stands, and two streams share no stain. Lengths scale with the
picture's side.

Example:
    later = drifted(frames, strength=demo_strength(data), seed=7)
"""

from __future__ import annotations

import math
import zlib

import msgspec
import numpy as np

from shared.errors import InputError
from shared.vision.fields import Field, Random, blurred, smooth

Frames = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

DEMO_STRENGTH = 0.45
"""What the story streams under drift; see demo_strength."""
STRENGTHS = {"deeppcb": 0.75}
"""Data sets that bear more: DeepPCB's black and white windows."""
REFERENCE_SIDE_PX = 96.0
CHUNK = 64
"""Frames changed at a time: bounds memory, changes nothing else."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """What a drifted site's frames share.

    `angle` is the lamp's direction in radians, `slope` its fall across the picture as a share, `stray` the stray light in levels of 255,
    `blur_px` the lens's standard deviation at a side of 96 pixels, `noise` the sensor's in levels, `oxide` the blotches' colour, `cover`
    how much of the object's own colour the thickest blotch hides (0 to 1).
    """

    angle: float
    slope: float
    stray: float
    blur_px: float
    noise: float
    oxide: tuple[float, float, float]
    cover: float


def demo_strength(data: str) -> float:
    """Return the drift of the story for a data set: one that costs its student between 10 and 50 points."""
    return STRENGTHS.get(data, DEMO_STRENGTH)


def site(strength: float, seed: int) -> Site:
    """Draw a drifted site.

    Args:
        strength: 0 (no drift) to 1.
        seed: another seed, another lamp and another oxide.

    Raises:
        InputError: the strength is no share.
    """
    if not 0.0 <= strength <= 1.0:
        raise InputError(f"the drift's strength is {strength}.", "Give a number from 0 to 1.")
    random = np.random.default_rng([seed, 1])
    red, green, blue = (float(random.uniform(low, high)) for low, high in ((100, 130), (75, 100), (55, 80)))
    return Site(
        angle=float(random.uniform(0, 2 * math.pi)),
        slope=0.7 * strength,
        stray=40.0 * strength,
        blur_px=1.1 * strength,
        noise=12.0 * strength,
        oxide=(red, green, blue),
        cover=0.5 * strength,
    )


def drifted(frames: Frames, *, strength: float, seed: int) -> Frames:
    """Return the frames as a drifted site would have taken them.

    Args:
        frames: uint8 (N, H, W, 3); never changed.
        strength: 0 to 1.
        seed: of the site and of every frame's own chance.

    Raises:
        InputError: the strength is no share, or the frames have another shape or type.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        raise InputError(f"the frames are {frames.dtype} {frames.shape}.", "Wanted is uint8 (N, H, W, 3).")
    where = site(strength, seed)
    if strength == 0.0:
        return frames.copy()
    result = np.empty_like(frames)
    for start in range(0, len(frames), CHUNK):
        part = frames[start : start + CHUNK]
        randoms = [np.random.default_rng([seed, 2, zlib.crc32(frame.tobytes())]) for frame in part]
        result[start : start + CHUNK] = _taken(part, where, randoms)
    return result


def _taken(frames: Frames, where: Site, randoms: list[Random]) -> Frames:
    _, height, width, _ = frames.shape
    scale = min(height, width) / REFERENCE_SIDE_PX
    pictures = frames.astype(np.float32)
    blotches = np.stack([_blotches(height, width, random) for random in randoms])[..., None] * np.float32(where.cover)
    pictures += blotches * (np.array(where.oxide, np.float32) - pictures)
    pictures *= _lamp(height, width, where)[..., None]
    pictures += np.float32(where.stray)
    pictures = blurred(pictures, np.full(len(frames), where.blur_px * math.sqrt(scale)))
    grain = np.stack([random.standard_normal((height, width, 3), dtype=np.float32) for random in randoms])
    return np.clip(np.rint(pictures + grain * np.float32(where.noise)), 0, 255).astype(np.uint8)


def _blotches(height: int, width: int, random: Random) -> Field:
    """Return how thick the oxide is, 0 to 1: coarse patches with a finer structure, over about half of the picture."""
    return np.asarray(np.clip(smooth(height, width, 4, random) + 0.5 * smooth(height, width, 12, random), 0, 1), np.float32)


def _lamp(height: int, width: int, where: Site) -> Field:
    down = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None] * np.float32(math.sin(where.angle))
    right = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :] * np.float32(math.cos(where.angle))
    return np.asarray(1 + np.float32(where.slope) * (down + right), np.float32)
