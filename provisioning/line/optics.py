"""From copper to a picture: the board's colours, the lamp, the lens and the sensor. Pure numpy.

Rules, in order: colours by coverage; dust and scratches (they mean nothing); lamp; lens (blur); sensor (noise, rounding).
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from provisioning.line.geometry import Field
from provisioning.line.layout import Layout, Random

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Colour = tuple[float, float, float]

MASKS: tuple[Colour, ...] = ((24, 84, 52), (22, 58, 110), (104, 30, 34), (38, 42, 46), (30, 96, 78))
METALS: tuple[Colour, ...] = ((206, 176, 104), (186, 188, 190))


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """The camera's surroundings. The defaults are a well-kept line; a drift is other values.

    `brightness` multiplies; `light_gradient` is the lamp's fall from one side to the other as a share; `blur_px` the lens's
    standard deviation; `noise` the sensor's, in levels of 255; `contrast` the copper's lightness under the mask, in levels.
    """

    brightness: float = 1.0
    light_gradient: float = 0.25
    blur_px: float = 0.75
    noise: float = 5.0
    contrast: float = 74.0


class Style(msgspec.Struct, frozen=True, kw_only=True):
    """What all windows of one board share: its mask, metal and copper colours, and how the lamp fell on it."""

    mask: Colour
    metal: Colour
    copper: Colour
    light_angle: float
    light: float


def style(random: Random, conditions: Conditions) -> Style:
    """Draw the look of one board."""
    mask = MASKS[int(random.integers(len(MASKS)))]
    lift = conditions.contrast * float(random.uniform(0.7, 1.25))
    return Style(
        mask=mask,
        metal=METALS[int(random.integers(len(METALS)))],
        copper=(mask[0] + lift * 0.95, mask[1] + lift, mask[2] + lift * 0.6),
        light_angle=float(random.uniform(0, 2 * math.pi)),
        light=float(random.uniform(0.88, 1.12)),
    )


def photograph(layout: Layout, look: Style, conditions: Conditions, random: Random, rough: Field) -> Pixels:
    """Return the picture of a window.

    Args:
        layout: the copper, faults included.
        look: the board's colours.
        conditions: lamp, lens, sensor.
        random: dust, scratches, noise.
        rough: smooth noise (size, size) for the etched edges and the substrate's weave.

    Returns:
        uint8 RGB (size, size, 3).
    """
    etched = layout.copper + rough * np.float32(0.3)
    copper, metal = _coverage(etched), _coverage(np.maximum(layout.bare, etched))
    picture = np.empty((*copper.shape, 3), np.float32)
    weave = rough * np.float32(2.5)
    hole = _coverage(layout.drill)
    for channel in range(3):
        plane = look.mask[channel] + weave + copper * np.float32(look.copper[channel] - look.mask[channel])
        plane += metal * (np.float32(look.metal[channel]) - plane)
        picture[..., channel] = plane + hole * (np.float32(18.0) - plane)
    _dust(picture, random)
    picture *= _lamp(copper.shape[0], look, conditions, random)[..., None]
    return _sensor(_blurred(picture, conditions.blur_px), conditions.noise, random)


def _coverage(distance: Field) -> Field:
    return np.asarray(np.clip(np.float32(0.5) - distance, 0, 1), np.float32)


def _dust(picture: Field, random: Random) -> None:
    """Specks lighter than anything copper, and soft: harmless, but in the way."""
    size = picture.shape[0]
    for _ in range(int(random.integers(0, 2))):
        row, column = (int(value) for value in random.integers(3, size - 3, 2))
        level = float(random.uniform(25, 70))
        picture[row - 1 : row + 2, column - 1 : column + 2] += np.float32(level) * _SPECK


_SPECK = np.array([[0.3, 0.6, 0.3], [0.6, 1.0, 0.6], [0.3, 0.6, 0.3]], np.float32)[..., None]


def _lamp(size: int, look: Style, conditions: Conditions, random: Random) -> Field:
    axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    angle = look.light_angle + float(random.normal(0, 0.3))
    slope = np.float32(conditions.light_gradient * float(random.uniform(0.3, 1.0)))
    light = axis[:, None] * (slope * np.float32(math.sin(angle))) + axis[None, :] * (slope * np.float32(math.cos(angle)))
    return np.asarray((light + 1) * np.float32(conditions.brightness * look.light), np.float32)


def _blurred(picture: Field, sigma: float) -> Field:
    """Blur with a Gaussian of `sigma` pixels, separable, borders repeated."""
    if sigma < 0.2:
        return picture
    reach = max(1, math.ceil(2.5 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    for axis in (0, 1):
        padded = np.pad(picture, [(reach, reach) if index == axis else (0, 0) for index in range(3)], mode="edge")
        length = picture.shape[axis]
        windows = [padded[offset : offset + length] if axis == 0 else padded[:, offset : offset + length] for offset in range(len(taps))]
        picture = windows[0] * taps[0]
        for window, tap in zip(windows[1:], taps[1:], strict=True):
            picture += window * tap
    return picture


def _sensor(picture: Field, noise: float, random: Random) -> Pixels:
    grain = random.standard_normal(picture.shape, dtype=np.float32)
    picture = picture + grain * np.float32(noise)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
