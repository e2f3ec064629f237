"""When a frame of a live stream is wanted, and when the reader is behind. Pure: times are arguments, in seconds.

A camera sets its own pace: frames beyond the wanted rate are left out before they are converted. A reader that is too slow finds
ever older frames in the connection's buffers; `Lag` notices from the time stamps and asks for key frames only until it has caught up.
"""

from __future__ import annotations

BEHIND_S = 1.0
CAUGHT_UP_S = 0.25
FORGET_S = 30.0
"""What is no delay is learned anew in this time."""
JUMP_S = 10.0
"""A time stamp further off than this is a clock that was set, not a delay."""


class Thinning:
    """Leaves out frames beyond a rate.

    Args:
        fps: frames per second wanted; 0 takes all.
    """

    def __init__(self, fps: float) -> None:
        self._period = 1.0 / fps if fps else 0.0
        self._due: float | None = None

    def wants(self, now: float) -> bool:
        """Tell whether the frame that arrives now is wanted.

        A frame up to half a period early is taken, so that a camera at the wanted rate loses none to jitter; the long-run rate is
        never above the wanted one.
        """
        if not self._period:
            return True
        due = now if self._due is None else self._due
        if now < due - self._period / 2:
            return False
        self._due = (now if now - due > self._period else due) + self._period
        return True


class Lag:
    """How far the reader is behind the stream's own clock: the least delay of the last minute or so counts as none.

    It is forgotten after FORGET_S to 2 FORGET_S, since no two clocks run alike: with one part in ten thousand between them a reader that
    is not behind at all would seem a second behind after three hours.
    """

    def __init__(self) -> None:
        self._least: tuple[float, float] | None = None
        self._turned_at = 0.0
        self._skipping = False
        self.behind_s = 0.0
        self.catching_up = False

    def leaves_out(self, stamp: float, now: float, *, is_key: bool) -> bool:
        """Tell whether a packet is left out to catch up.

        Key frames are taken always. After others were left out, nothing is until the next key frame: what follows is built on what is
        missing, and a decoder makes pictures of it that nobody filmed.

        Args:
            stamp: the packet's time in the stream.
            now: monotonic seconds.
            is_key: whether it can be decoded by itself.
        """
        is_behind = self.see(stamp, now)
        self._skipping = not is_key and (is_behind or self._skipping)
        return self._skipping

    def see(self, stamp: float, now: float) -> bool:
        """Take a packet's time stamp.

        Args:
            stamp: the stream's time.
            now: monotonic seconds.

        Returns:
            True while the reader is behind.
        """
        delay = now - stamp
        if self._least is None or abs(delay - min(self._least)) > JUMP_S:
            self._least, self._turned_at, self.catching_up = (delay, delay), now, False
        older, newer = self._least
        if now - self._turned_at >= FORGET_S:
            older, newer, self._turned_at = newer, delay, now
        self._least = (older, min(newer, delay))
        self.behind_s = delay - min(self._least)
        if self.behind_s > BEHIND_S:
            self.catching_up = True
        elif self.behind_s < CAUGHT_UP_S:
            self.catching_up = False
        return self.catching_up
