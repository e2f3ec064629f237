"""The newest frame of every stream: one place per stream, a newer frame replaces the one waiting, and the replaced one is counted.

So a slow model means dropped frames, never a growing queue or old answers.
"""

from __future__ import annotations

import threading

from shared.vision.frames import Frame


class NewestFrames:
    """Where the sources' threads put frames and the inference thread takes them."""

    def __init__(self) -> None:
        self._waiting: dict[str, Frame] = {}
        self._dropped: dict[str, int] = {}
        self._skipped = 0
        self._ready = threading.Condition()
        self._closed = False

    def put(self, frame: Frame) -> None:
        """Make a frame the newest of its stream; one that still waits is dropped and counted. Never blocks."""
        with self._ready:
            if self._waiting.pop(frame.stream, None) is not None:
                self._dropped[frame.stream] = self._dropped.get(frame.stream, 0) + 1
            self._waiting[frame.stream] = frame
            self._ready.notify()

    def take(self, limit: int, timeout_s: float) -> list[Frame]:
        """Wait for frames and take the newest of up to `limit` streams, longest waiting first; empty after the time-out or close."""
        with self._ready:
            if not self._waiting and not self._closed:
                self._ready.wait(timeout_s)
            return [self._waiting.pop(stream) for stream in list(self._waiting)[:limit]]

    def close(self) -> None:
        """Wake whoever waits; nothing is taken any more."""
        with self._ready:
            self._closed = True
            self._waiting.clear()
            self._ready.notify_all()

    def skip(self, stream: str) -> None:
        """Count a frame of a stream as dropped that was left out on purpose, before it came here. Never blocks."""
        with self._ready:
            self._dropped[stream] = self._dropped.get(stream, 0) + 1
            self._skipped += 1

    def skipped_in_all(self) -> int:
        """Return how many of the dropped frames were left out on purpose, over all streams."""
        return self._skipped

    def dropped(self, stream: str) -> int:
        """Return how many frames of a stream were replaced before they were taken."""
        return self._dropped.get(stream, 0)

    def dropped_in_all(self) -> int:
        """Return how many frames were replaced, over all streams."""
        return sum(self._dropped.values())
