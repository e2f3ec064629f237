"""All streams of a device as one part: they end together within `STOP_S`, however many cameras hang."""

from __future__ import annotations

from collections.abc import Sequence

from edge.sources.stream import StreamThread
from shared import clock

STOP_S = 5.0


class StreamGroup:
    """Starts and stops the streams.

    Args:
        streams: the device's streams.
    """

    def __init__(self, streams: Sequence[StreamThread]) -> None:
        self._streams = streams

    def start(self) -> None:
        """Have all of them read."""
        for stream in self._streams:
            stream.start()

    def stop(self) -> None:
        """Tell all of them to end, then wait for all."""
        for stream in self._streams:
            stream.signal()
        deadline = clock.monotonic() + STOP_S
        for stream in self._streams:
            stream.stop(max(0.0, deadline - clock.monotonic()))
