"""One stream's thread: reads its source at its pace, numbers every frame, keeps the newest at hand, and comes back after failures.

Rules, in order:
1. Numbers come in durable blocks (edge.numbers). A number modulo the source's length is the place in the source: after a restart the
   stream goes on at that place. A live source has no places.
2. A place that was damaged takes its number all the same and is counted as corrupt.
3. A live source sets the pace; frames beyond the wanted rate are thinned out before they get a number.
4. The motion gate, where there is one, looks at the brightness. Only what passes is converted, at the size the running model scales to.
5. A source that fails makes its own stream wait (1 s, doubling to 60 s) and say so in the status; other streams do not notice. A
   live source that ends has failed.
6. A stream behind its pace does not hurry: the schedule starts anew from now.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable

import msgspec

from edge.motion import MotionGate
from edge.numbers import BLOCK, FrameNumbers
from edge.sources.base import LIVE, Shot, Size, Source
from edge.sources.pace import Thinning
from edge.sources.state import StreamState, Watch
from edge.sources.turns import give_way
from shared import clock, log
from shared.errors import InputError, TerraceError
from shared.vision.frames import Frame

FAILED, RECOVERED, ENDED = "stream_failed", "stream_recovered", "stream_ended"
LONGEST_WAIT_S = 60.0
UNIT_S = 10.0
"""Seconds of a stream that make one unit where the source does not name units."""
LIVE_FPS = 10.0
"""Taken for a pace where nobody names one."""
RARE = 5.0
"""A live frame after so many periods without one is a rare one (a camera that a part triggers): it is as good as the pause was long."""


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of a stream: `fps` pictures per second (0: the source's own pace), and whether it starts `loop` at its end."""

    fps: float = 0.0
    loop: bool = True


class StreamThread:
    """Reads one source and puts its frames where the inference thread takes them.

    Args:
        name: the stream's name.
        source: where pictures come from.
        wishes: at what pace.
        numbers: the durable counters.
        put: called with every frame; must not block.
        gate: keeps back frames on which nothing moved; None for none.
        size: tells the size to which the running model scales a frame of a size, None before the first.
        allow: tells whether a frame of a stream may be answered at all, by its number, and counts one that may not; None allows all.
    """

    def __init__(
        self,
        *,
        name: str,
        source: Source,
        wishes: Wishes,
        numbers: FrameNumbers,
        put: Callable[[Frame], None],
        gate: MotionGate | None = None,
        size: Callable[[Size], Size | None] | None = None,
        allow: Callable[[str, int], bool] | None = None,
    ) -> None:
        self.name = name
        self.state = StreamState()
        self._source = source
        self._wishes = wishes
        self._numbers = numbers
        self._put = put
        self._gate = gate
        self._size = size
        self._allow = allow
        self._number = self._block_end = self._length = 0
        self._good_for_s = 0.0
        self._watch = Watch(self.state)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"stream-{name}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self, within_s: float = 5.0) -> None:
        """End the thread; one that hangs in its source is left behind after `within_s`."""
        self.signal()
        self._thread.join(timeout=within_s)

    def signal(self) -> None:
        """Have the thread end soon, without waiting for it."""
        self._stopping.set()

    def _run(self) -> None:
        give_way()
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
        """Open the source and read it until its end, until it fails or until stopped."""
        try:
            self._watch.dialled(clock.monotonic())
            length = self._length = self._source.open()
            if not self._block_end:
                self._take_block()
            if length == LIVE:
                self._follow()
            else:
                self._replay(length)
        finally:
            self._source.close()

    def _follow(self) -> None:
        """Take what a live source shows, as it comes."""
        thinning, expected, before = Thinning(self._wishes.fps), 0, clock.monotonic()
        period = 1.0 / (self._wishes.fps or LIVE_FPS)
        for shot in self._source.shots(0):
            if self._stopping.is_set():
                return
            damaged, expected = shot.index - expected, shot.index + 1
            now = clock.monotonic()
            self._good_for_s = now - before if now - before > RARE * period else period
            before = now
            self._watch.compare(shot.look.luma(), now)
            if thinning.wants(now):
                self._deliver(shot, damaged, period)
            else:
                self.state.thinned += 1

    def _replay(self, length: int) -> None:
        """Read passes until the end of a source that does not loop, or until stopped."""
        period = 1.0 / (self._wishes.fps or self._source.rate() or LIVE_FPS)
        due, seen = clock.monotonic(), self.state.delivered
        self._good_for_s = period
        while not self._stopping.is_set():
            for shot in self._source.shots(self._number % length):
                due = self._pace(due, period)
                if self._stopping.is_set():
                    return
                self._deliver(shot, (shot.index - self._number) % length, period)
            self._close_pass(length)
            if self.state.delivered == seen:
                raise _nothing(self.name)
            if not self._wishes.loop:
                return
            seen = self.state.delivered

    def _deliver(self, shot: Shot, damaged: int, period: float) -> None:
        """Number a shot and what was damaged before it; hand it on unless the gate keeps it back."""
        self.state.corrupt += damaged
        self.state.frames += damaged + 1
        number = self._advance(damaged)
        self._advance(1)
        now = clock.monotonic()
        self._watch.saw(shot.look.size, now)
        if self._allow is None or self._allow(self.name, number):
            self._hand_on(shot, number, period, now)
        if self.state.state != "running":
            self.state.state, self.state.reason = "running", ""
            log.get("stream").info(RECOVERED, stream=self.name, number=number)

    def _hand_on(self, shot: Shot, number: int, period: float, now: float) -> None:
        if self._gate is None or self._gate.passes(number, shot.look.luma(), now):
            self._put(self._develop(shot, number, period, now))
        else:
            self.state.still += 1

    def _develop(self, shot: Shot, number: int, period: float, now: float) -> Frame:
        """Convert what is needed of a shot."""
        look = shot.look
        pixels = look.pixels(self._size(look.size) if self._size else None)
        return Frame(
            stream=self.name,
            number=number,
            unit=shot.unit or f"{self.name}/{int(number * period / UNIT_S)}",
            captured_at=clock.wall(),
            arrived_at=now,
            pixels=pixels,
            good_for_s=self._good_for_s,
            whole=None if pixels.shape[:2] == look.size else functools.partial(look.pixels, None),
        )

    def _close_pass(self, length: int) -> None:
        """Count what was damaged at the end of a pass, so that the next one starts at place 0."""
        missing = -self._number % length
        self.state.corrupt += missing
        self.state.frames += missing
        self._advance(missing)

    def _advance(self, count: int) -> int:
        """Move on by `count` numbers and return where that is; a new block is taken before the old one ends.

        A block far above the old one (the disk could not be written) begins at the same place in the source.
        """
        self._number += count
        while self._number >= self._block_end:
            first = self._numbers.reserve(self.name)
            if first > self._number:
                self._number = first + ((self._number - first) % self._length if self._length else 0)
            self._block_end = first + BLOCK
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
