"""A decoded frame that is not converted yet, and how it is: cropped without a copy, scaled straight to the network's size.

Rules, in order:
1. Its own size: packed RGB, as a player would show it.
2. Another size: one pass of swscale, bilinear, exact rounding, full chroma, into planes, which are what a network takes; the array
   is (H, W, 3) all the same, its channels lie apart. No RGB picture of the full size is ever made on this way.
3. A part of the picture is a view of the decoder's own planes.

Converters are kept per stream: making one costs more than using it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from edge.sources.area import Area
from edge.sources.base import Luma, Size
from shared.errors import InputError
from shared.vision.frames import Pixels

SCALING = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
PLANES = (2, 0, 1)
"""Where red, green and blue lie in gbrp."""


class Developer:
    """Turns one stream's decoded frames into looks; used by that stream's thread.

    Args:
        area: the part that is looked at; None for all.
    """

    def __init__(self, area: Area | None = None) -> None:
        self._area = area
        self._scaler = VideoReformatter()
        self._cut: tuple[tuple[Any, ...], Any] | None = None

    def look(self, frame: Any) -> DecodedLook:
        """Return a frame's look, cut to the area.

        Args:
            frame: an `av.VideoFrame`.
        """
        return DecodedLook(frame if self._area is None else self._cropped(frame, self._area), self._scaler)

    def _cropped(self, frame: Any, area: Area) -> Any:
        """Cut with a filter that moves pointers only; it is made anew when the stream changes its size or format."""
        shape = (frame.width, frame.height, frame.format.name)
        if self._cut is None or self._cut[0] != shape:
            self._cut = (shape, _cutter(frame, area))
        graph = self._cut[1]
        graph.push(frame)
        return graph.pull()


class DecodedLook:
    """One decoded frame; see `Look`.

    Args:
        frame: an `av.VideoFrame`, which keeps the decoder's buffer alive.
        scaler: the stream's converter.
    """

    def __init__(self, frame: Any, scaler: VideoReformatter) -> None:
        self._frame = frame
        self._scaler = scaler

    @property
    def size(self) -> Size:
        """See `Look.size`."""
        return self._frame.height, self._frame.width

    def luma(self) -> Luma:
        """Return the first plane where that is brightness, else a grey conversion; see `Look.luma`."""
        frame = self._frame
        if not (frame.format.is_planar and frame.format.components[0].is_luma and frame.format.components[0].bits == 8):
            frame = self._scaler.reformat(frame, format="gray", threads=1)
        return _plane(frame, 0)

    def pixels(self, wanted: Size | None) -> Pixels:
        """Convert, by rule 1 on any thread, by rule 2 on the stream's. See `Look.pixels`.

        Raises:
            InputError: the frame cannot be converted.
        """
        try:
            if wanted is None or wanted == self.size:
                # a converter of its own: several threads may want the whole picture at once, and one converter serves one at a time
                return np.asarray(VideoReformatter().reformat(self._frame, format="rgb24", threads=1).to_ndarray())
            return self._scaled(*wanted)
        except (av.FFmpegError, ValueError) as error:
            raise InputError(f"a frame of {self._frame.width}x{self._frame.height} cannot be converted: {error}.") from error

    def _scaled(self, height: int, width: int) -> Pixels:
        frame = self._scaler.reformat(self._frame, width, height, "gbrp", interpolation=SCALING, threads=1)
        planes = np.empty((3, height, width), np.uint8)
        for place, plane in enumerate(PLANES):
            planes[place] = _plane(frame, plane)
        return np.asarray(planes.transpose(1, 2, 0))


def _plane(frame: Any, index: int) -> Luma:
    """Return one plane of 8-bit values as a view, without the padding of its lines."""
    plane = frame.planes[index]
    lines = np.frombuffer(plane, np.uint8)[: plane.line_size * plane.height]
    return lines.reshape(plane.height, plane.line_size)[:, : plane.width]


def _cutter(frame: Any, area: Area) -> Any:
    box = area.box((frame.height, frame.width))
    graph = av.filter.Graph()
    steps = (
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)),
        graph.add("crop", f"{box.width}:{box.height}:{box.x}:{box.y}"),
        graph.add("buffersink"),
    )
    steps[0].link_to(steps[1])
    steps[1].link_to(steps[2])
    graph.configure()
    return graph
