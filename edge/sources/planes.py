"""Where the planes of an I420 picture lie in a GStreamer buffer, and how a pipeline is completed so that it ends in one. Pure."""

from __future__ import annotations

import msgspec
import numpy as np

from edge.sources.base import Luma
from shared.errors import ConfigurationError

SINK = "terrace"
TAIL = f"videoconvert ! video/x-raw,format=I420 ! appsink name={SINK} max-buffers=1 drop=true sync=false emit-signals=false"
"""One picture waits at most and a newer one replaces it: no queue can grow."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Offsets and line lengths in bytes of an I420 buffer as GStreamer lays it out by default (`gst_video_info_set_format`)."""

    width: int
    height: int
    luma_stride: int
    chroma_stride: int
    chroma_height: int

    @property
    def size(self) -> int:
        """Bytes of the whole buffer."""
        return self.luma_stride * 2 * self.chroma_height + 2 * self.chroma_stride * self.chroma_height


def layout(width: int, height: int) -> Layout:
    """Return the layout of a picture of a size in pixels: lines are padded to 4 bytes, planes to even heights."""
    half = (width + 1) // 2
    return Layout(width=width, height=height, luma_stride=_padded(width), chroma_stride=_padded(half), chroma_height=(height + 1) // 2)


def packed(data: bytes | memoryview, found: Layout) -> Luma:
    """Return a buffer as PyAV takes yuv420p: the planes one after another without padding, cut to an even size.

    Args:
        data: the buffer.
        found: its layout.

    Returns:
        uint8, shape (height * 3 / 2, width), both sides even.

    Raises:
        ValueError: the buffer is too short for its layout.
    """
    if len(data) < found.size:
        raise ValueError(f"a buffer of {len(data)} bytes holds no picture of {found.width}x{found.height}")
    width, height = found.width // 2 * 2, found.height // 2 * 2
    whole = np.frombuffer(data, np.uint8)
    luma = whole[: found.luma_stride * height].reshape(height, found.luma_stride)[:, :width]
    made = np.empty((height * 3 // 2, width), np.uint8)
    made[:height] = luma
    flat = made[height:].reshape(2, -1)
    begin, length = found.luma_stride * 2 * found.chroma_height, found.chroma_stride * found.chroma_height
    for place in range(2):
        plane = whole[begin + place * length :][:length].reshape(found.chroma_height, found.chroma_stride)
        flat[place] = plane[: height // 2, : width // 2].reshape(-1)
    return made


def completed(pipeline: str) -> str:
    """Return a pipeline's text with the end that hands pictures to the agent.

    Args:
        pipeline: as for `gst-launch-1.0`, without a sink: `nvarguscamerasrc ! nvvidconv ! video/x-raw`.

    Raises:
        ConfigurationError: it is empty or ends in a sink of its own.
    """
    text = pipeline.strip().rstrip("!").strip()
    last = text.rpartition("!")[2].split()
    if not last or last[0].endswith("sink"):
        raise ConfigurationError("a stream's pipeline is empty or ends in a sink.", "Leave the sink out; the agent adds its own.")
    return f"{text} ! {TAIL}"


def _padded(length: int) -> int:
    return (length + 3) // 4 * 4
