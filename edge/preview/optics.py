"""What a person who mounts a camera turns screws for: sharpness, brightness, and how much is lost to black or white. Pure.

Sharpness is the variance of the Laplacian of the luma plane (Pech-Pacheco et al., 2000): it has no unit and depends on the scene, so
it only says whether a turn made it better.
"""

from __future__ import annotations

import msgspec
import numpy as np

from shared.vision.frames import Pixels

DARK, BRIGHT = 8, 247
_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


class Optics(msgspec.Struct, frozen=True, kw_only=True):
    """`brightness` is the mean luma, 0 to 255; `dark` and `bright` are the shares of pixels at either end."""

    sharpness: float
    brightness: float
    dark: float
    bright: float


def measure(pixels: Pixels) -> Optics:
    """Return the figures of an RGB picture of at least one pixel."""
    luma = pixels.astype(np.float32) @ _WEIGHTS
    inner = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner
    return Optics(
        sharpness=float(laplacian.var()) if laplacian.size else 0.0,
        brightness=float(luma.mean()),
        dark=float((luma <= DARK).mean()),
        bright=float((luma >= BRIGHT).mean()),
    )
