"""The newest answered frame of every stream, kept only while the preview is open, and given out at a few pictures per second.

On the inference thread `see` stores a reference, and nothing else; pictures are made by whoever asks for one.
"""

from __future__ import annotations

import threading
from collections import deque

from edge.events import Event, Inferred
from shared import clock

PICTURE_S = 0.2
"""Between two pictures, over all streams and browsers."""
LAST_EVENTS = 8


class Window:
    """What may be looked at."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._newest: dict[str, Inferred] = {}
        self._events: dict[str, deque[Event]] = {}
        self._given = float("-inf")
        self.is_open = False
        self.pictures = 0

    def open(self) -> None:
        """Begin to keep frames."""
        self.is_open = True

    def close(self) -> None:
        """Forget every frame and wake whoever waits for one."""
        with self._changed:
            self.is_open = False
            self._newest.clear()
            self._events.clear()
            self._changed.notify_all()

    def see(self, inferred: Inferred) -> None:
        """Take an answered frame; without an open preview this is one comparison."""
        if self.is_open:
            with self._changed:
                self._newest[inferred.frame.stream] = inferred
                self._changed.notify_all()

    def put(self, event: Event) -> None:
        """Take an event: what became of a frame, perhaps later."""
        if self.is_open:
            with self._changed:
                self._events.setdefault(event.stream, deque(maxlen=LAST_EVENTS)).appendleft(event)

    def next(self, stream: str, after: int, timeout_s: float) -> Inferred | None:
        """Wait for a frame of a stream that is newer than number `after`, and for the time of the next picture.

        Returns:
            The newest, or None when none came in time or the preview was closed.
        """
        deadline = clock.monotonic() + timeout_s
        with self._changed:
            while self.is_open and (now := clock.monotonic()) < deadline:
                found = self._newest.get(stream)
                is_new = found is not None and found.frame.number != after
                if is_new and now >= self._given + PICTURE_S:
                    self._given = now
                    self.pictures += 1
                    return found
                self._changed.wait(min(deadline, self._given + PICTURE_S if is_new else deadline) - now)
        return None

    def events(self, stream: str) -> list[Event]:
        """Return a stream's last events, newest first."""
        with self._changed:
            return list(self._events.get(stream, ()))
