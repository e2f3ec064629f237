"""What a person who mounts a camera turns screws for: sharpness, brightness, and how much is lost to black or white. Pure.

Sharpness is the variance of the Laplacian of the luma plane (Pech-Pacheco et al., 2000): it has no unit and depends on the scene, so
it only says whether a turn made it better.
"""

from __future__ import annotations

import msgspec
import numpy as np

from shared.vision.frames import Pixels

DARK, BRIGHT = 8, 247


class Optics(msgspec.Struct, frozen=True, kw_only=True):
    """`brightness` is the mean luma, 0 to 255; `dark` and `bright` are the shares of pixels at either end."""

    sharpness: float
    brightness: float
    dark: float
    bright: float


def measure(luma: Pixels) -> Optics:
    """Return the figures of a luma plane, uint8 of shape (H, W), of at least one pixel."""
    wide = luma.astype(np.int16)
    laplacian = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:] - 4 * wide[1:-1, 1:-1]
    return Optics(
        sharpness=float(laplacian.var()) if laplacian.size else 0.0,
        brightness=float(luma.mean()),
        dark=float((luma <= DARK).mean()),
        bright=float((luma >= BRIGHT).mean()),
    )
