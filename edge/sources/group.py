"""All streams of a device as one part: they end together, so that dead cameras do not add up their time-outs."""

from __future__ import annotations

from collections.abc import Sequence

from edge.sources.stream import StreamThread


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
        """Tell all of them to end, then wait for each."""
        for stream in self._streams:
            stream.signal()
        for stream in self._streams:
            stream.stop()
