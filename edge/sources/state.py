"""What a stream says of itself. Pure; written by the stream's own thread and read by any.

A camera may freeze and go on sending the same picture: what a sensor sees is never twice the same to the last bit. A live stream whose
samples of brightness stay the same for FROZEN_S says so; its frames are answered all the same.
"""

from __future__ import annotations

import zlib

import msgspec

from edge.sources.base import Luma, Size

FROZEN_S = 30.0


class StreamState(msgspec.Struct, kw_only=True):
    """The figures. `state` is starting, running, failed or ended; `frames` counts numbers given, damaged ones included.

    `still` frames were kept back by the motion gate, `thinned` ones never got a number. `connections` counts how often the source was
    opened, `first_frame_s` how long the last opening took to its first frame; `height` and `width` are the picture's, `frozen_s` for
    how long a live picture has not changed in a bit (0 below FROZEN_S); `seen_at` is when the last frame came (monotonic seconds).
    """

    state: str = "starting"
    reason: str = ""
    frames: int = 0
    corrupt: int = 0
    failures: int = 0
    still: int = 0
    thinned: int = 0
    connections: int = 0
    first_frame_s: float = 0.0
    height: int = 0
    width: int = 0
    frozen_s: float = 0.0
    seen_at: float = 0.0

    def silent_s(self, now: float) -> float:
        """Return for how long a source that should run has given nothing: it may hang where no time-out reaches, as in a driver."""
        return max(0.0, now - self.seen_at) if self.seen_at and self.state == "running" else 0.0

    @property
    def delivered(self) -> int:
        """Frames that could be decoded and were handed on or kept back."""
        return self.frames - self.corrupt


class Watch:
    """Keeps a stream's figures on its connection and its picture.

    Args:
        state: where they are written.
    """

    def __init__(self, state: StreamState) -> None:
        self._state = state
        self._dialled_at: float | None = None
        self._print = 0
        self._same_since = 0.0

    def dialled(self, now: float) -> None:
        """Note that the source is about to be opened, at monotonic seconds."""
        self._state.connections += 1
        self._dialled_at = now

    def saw(self, size: Size, now: float) -> None:
        """Note a frame of a size."""
        if self._dialled_at is not None:
            self._state.first_frame_s = now - self._dialled_at
            self._dialled_at = None
        self._state.height, self._state.width = size
        self._state.seen_at = now

    def compare(self, luma: Luma, now: float) -> None:
        """Compare a live frame's brightness, sampled, with the frame before."""
        self._state.seen_at = now
        found = zlib.crc32(luma[::16, ::4].tobytes())
        if found != self._print:
            self._print, self._same_since = found, now
        same_s = now - self._same_since
        self._state.frozen_s = same_s if same_s >= FROZEN_S else 0.0
