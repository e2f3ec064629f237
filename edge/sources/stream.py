"""One stream's thread: reads its source at its pace, numbers every frame, keeps the newest at hand, and comes back after failures.

Rules, in order:
1. Numbers come in durable blocks (edge.numbers). A number modulo the source's length is the place in the source: after a restart the
   stream goes on at that place.
2. A place that was damaged takes its number all the same and is counted as corrupt.
3. A source that fails makes its own stream wait (1 s, doubling to 60 s) and say so in the status; other streams do not notice.
4. A stream behind its pace does not hurry: the schedule starts anew from now.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from edge.numbers import BLOCK, FrameNumbers
from edge.sources.base import Shot, Source
from shared import clock, log
from shared.errors import InputError, TerraceError
from shared.vision.frames import Frame

FAILED, RECOVERED, ENDED = "stream_failed", "stream_recovered", "stream_ended"
LONGEST_WAIT_S = 60.0
UNIT_S = 10.0
"""Seconds of a stream that make one unit where the source does not name units."""


class StreamState(msgspec.Struct, kw_only=True):
    """What a stream's thread says of itself; written by that thread only. `state` is starting, running, failed or ended."""

    state: str = "starting"
    reason: str = ""
    frames: int = 0
    corrupt: int = 0
    failures: int = 0

    @property
    def delivered(self) -> int:
        """Frames that could be decoded and were handed on."""
        return self.frames - self.corrupt


class StreamThread:
    """Reads one source and puts its frames where the inference thread takes them.

    Args:
        name: the stream's name.
        source: where pictures come from.
        fps: pictures per second; 0 takes the source's own pace.
        loop: start again at the end.
        numbers: the durable counters.
        put: called with every frame; must not block.
    """

    def __init__(self, *, name: str, source: Source, fps: float, loop: bool, numbers: FrameNumbers, put: Callable[[Frame], None]) -> None:
        self.name = name
        self.state = StreamState()
        self._source = source
        self._fps = fps
        self._loop = loop
        self._numbers = numbers
        self._put = put
        self._number = self._block_end = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"stream-{name}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        wait_s = 1.0
        while not self._stopping.is_set():
            before = self.state.delivered
            try:
                self._read()
            except TerraceError as error:
                self._fail(error.message, error.remedy)
            except Exception as error:  # noqa: BLE001 - a decoder's surprise must not end the stream silently
                self._fail(f"{type(error).__name__}: {error}", "")
            else:
                self.state.state = "ended"
                log.get("stream").info(ENDED, stream=self.name, frames=self.state.frames)
                return
            wait_s = 1.0 if self.state.delivered > before else min(2 * wait_s, LONGEST_WAIT_S)
            self._stopping.wait(wait_s)

    def _fail(self, reason: str, remedy: str) -> None:
        self.state.failures += 1
        self.state.state, self.state.reason = "failed", f"{reason} {remedy}".strip()
        log.get("stream").warning(FAILED, stream=self.name, reason=reason, remedy=remedy)

    def _read(self) -> None:
        """Read passes until the end of a source that does not loop, or until stopped."""
        try:
            length = self._source.open()
            period = 1.0 / (self._fps or self._source.rate() or 10.0)
            if not self._block_end:
                self._take_block()
            due, seen = clock.monotonic(), self.state.delivered
            while not self._stopping.is_set():
                for shot in self._source.shots(self._number % length):
                    due = self._pace(due, period)
                    if self._stopping.is_set():
                        return
                    self._deliver(shot, length, period)
                self._close_pass(length)
                if self.state.delivered == seen:
                    raise _nothing(self.name)
                if not self._loop:
                    return
                seen = self.state.delivered
        finally:
            self._source.close()

    def _deliver(self, shot: Shot, length: int, period: float) -> None:
        skipped = (shot.index - self._number) % length
        self.state.corrupt += skipped
        self.state.frames += skipped + 1
        number = self._advance(skipped)
        self._advance(1)
        unit = shot.unit or f"{self.name}/{int(number * period / UNIT_S)}"
        now = clock.monotonic()
        self._put(Frame(stream=self.name, number=number, unit=unit, captured_at=clock.wall(), arrived_at=now, pixels=shot.pixels))
        if self.state.state != "running":
            self.state.state, self.state.reason = "running", ""
            log.get("stream").info(RECOVERED, stream=self.name, number=number)

    def _close_pass(self, length: int) -> None:
        """Count what was damaged at the end of a pass, so that the next one starts at place 0."""
        missing = -self._number % length
        self.state.corrupt += missing
        self.state.frames += missing
        self._advance(missing)

    def _advance(self, count: int) -> int:
        """Move on by `count` numbers and return where that is; a new block is taken before the old one ends."""
        self._number += count
        while self._number >= self._block_end:
            self._block_end = self._numbers.reserve(self.name) + BLOCK
        return self._number

    def _take_block(self) -> None:
        self._number = self._numbers.reserve(self.name)
        self._block_end = self._number + BLOCK

    def _pace(self, due: float, period: float) -> float:
        """Wait until `due` and return when the next frame is."""
        now = clock.monotonic()
        if due > now:
            self._stopping.wait(due - now)
        elif now - due > period:
            due = now
        return due + period


def _nothing(name: str) -> InputError:
    return InputError(f"the source of stream {name} gave no usable frame in a whole pass.", "Check the file with a player.")
