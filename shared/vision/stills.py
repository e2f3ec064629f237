"""Picture files as people have them, read into pixels: one code for a device's folder, a user's album and a data set.

Rules, in order:
1. Only PNG, JPEG, WebP and BMP, whatever the file's name says; size is checked from the header, before a pixel is allocated.
2. The first picture of an animation. Grey, palettes and CMYK become RGB; transparency is left out.
3. 16 bits per pixel become 8 by their upper half, as OpenCV reads them; Pillow alone would make everything above 255 white.
4. What the camera noted about how it was held (EXIF) is not applied: a device's camera notes nothing either.

Not here: pictures from other machines, whose message says what they are (picture).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from shared.errors import InputError
from shared.vision.frames import Pixels
from shared.vision.picture import LARGEST_PIXELS

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I")
REMEDY = f"Remove it or replace it by a picture ({', '.join(SUFFIXES)})."


def read(file: Path) -> Pixels:
    """Return a picture, uint8 RGB of shape (H, W, 3).

    Raises:
        InputError: it is no picture, damaged, or too large.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > LARGEST_PIXELS:
                raise InputError(f"the picture {file} has more than {LARGEST_PIXELS} pixels.", "Make it smaller.")
            if image.mode in SIXTEEN_BITS:
                grey = (np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"the picture {file} cannot be read: {error}.", REMEDY) from error
