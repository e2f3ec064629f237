"""Still pictures as they travel and are stored: WebP, JPEG or PNG bytes with their size.

Rules, in order:
1. What was encoded once is never encoded again on its way.
2. Bytes from another machine are decoded with limits: codec, size in pixels and what the message claims are checked from the
   file's header, before a pixel is allocated.

Not here: which codec and quality a stream uses (the card's picture quality, the device's configuration).
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from shared.errors import InputError
from shared.vision.frames import Pixels
from shared.wire.messages import Picture

FORMATS = {"webp": "WEBP", "jpeg": "JPEG", "png": "PNG"}
LARGEST_PIXELS = 1 << 24


def encode(pixels: Pixels, *, codec: str = "webp", quality: int = 80) -> Picture:
    """Encode one picture.

    Args:
        pixels: uint8 RGB, shape (H, W, 3).
        codec: webp, jpeg or png.
        quality: 1 to 100; 100 is lossless for webp; png is always lossless.

    Returns:
        The encoded picture.

    Raises:
        InputError: no such codec, or no RGB picture.
    """
    if codec not in FORMATS:
        raise InputError(f"there is no picture codec {codec!r}.", f"Use one of: {', '.join(FORMATS)}.")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InputError(f"pixels of shape {pixels.shape} and type {pixels.dtype} are no uint8 RGB picture.")
    buffer = io.BytesIO()
    try:
        Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, FORMATS[codec], **_options(codec, quality))
    except (OSError, ValueError) as error:
        raise InputError(f"a picture of shape {pixels.shape} cannot be encoded as {codec}: {error}.") from error
    return Picture(codec=codec, width=pixels.shape[1], height=pixels.shape[0], data=buffer.getvalue())


def decode(picture: Picture, *, max_pixels: int = LARGEST_PIXELS) -> Pixels:
    """Decode a picture that came from another machine.

    Args:
        picture: what arrived.
        max_pixels: width times height at most.

    Returns:
        uint8 RGB, shape (H, W, 3).

    Raises:
        InputError: too large, not of the codec and size it claims, or damaged.
    """
    if picture.codec not in FORMATS:
        raise InputError(f"there is no picture codec {picture.codec[:20]!r}.")
    if min(picture.width, picture.height) < 1 or picture.width * picture.height > max_pixels:
        raise InputError(f"a picture of {picture.width}x{picture.height} is empty or larger than {max_pixels} pixels.")
    try:
        image = Image.open(io.BytesIO(picture.data), formats=[FORMATS[picture.codec]])
        if image.size != (picture.width, picture.height):
            raise InputError(f"the picture is {image.size[0]}x{image.size[1]}, its message says {picture.width}x{picture.height}.")
        return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"the bytes are no {picture.codec} picture: {error}.") from error


def _options(codec: str, quality: int) -> dict[str, object]:
    if codec == "png":
        return {"optimize": False}
    if codec == "webp":
        return {"quality": quality, "lossless": quality >= 100, "method": 4}
    return {"quality": quality, "subsampling": 0 if quality >= 90 else 2}
