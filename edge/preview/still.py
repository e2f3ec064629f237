"""One frame as the page shows it: scaled down where it is large, and encoded as JPEG. Runs on the asking request's thread."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from edge.events import Inferred
from edge.preview.optics import measure
from edge.preview.view import encode, view
from edge.preview.window import Window
from shared import clock

LONGEST_PX, QUALITY = 960, 80


def still(window: Window, inferred: Inferred) -> tuple[bytes, str]:
    """Return a frame's JPEG and its words as ASCII JSON."""
    image = Image.fromarray(np.ascontiguousarray(inferred.frame.picture()))
    size = image.size
    image.thumbnail((LONGEST_PX, LONGEST_PX), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    stream = inferred.frame.stream
    words = view(inferred, measure(np.asarray(image.convert("L"))), window.events(stream), size=size, now=clock.monotonic())
    return buffer.getvalue(), encode(words)
