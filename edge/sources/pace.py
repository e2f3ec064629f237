"""When a frame of a live stream is wanted, and when the reader is behind. Pure: times are arguments, in seconds.

A camera sets its own pace: frames beyond the wanted rate are left out before they are converted. A reader that is too slow finds
ever older frames in the connection's buffers; `Lag` notices from the time stamps and asks for key frames only until it has caught up.
"""

from __future__ import annotations

BEHIND_S = 1.0
CAUGHT_UP_S = 0.25
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
    """How far the reader is behind the stream's own clock: the least delay ever seen counts as none."""

    def __init__(self) -> None:
        self._least: float | None = None
        self.behind_s = 0.0
        self.catching_up = False

    def see(self, stamp: float, now: float) -> bool:
        """Take a packet's time stamp.

        Args:
            stamp: the stream's time.
            now: monotonic seconds.

        Returns:
            True while only key frames should be decoded.
        """
        delay = now - stamp
        if self._least is None or abs(delay - self._least) > JUMP_S:
            self._least, self.catching_up = delay, False
        self._least = min(self._least, delay)
        self.behind_s = delay - self._least
        if self.behind_s > BEHIND_S:
            self.catching_up = True
        elif self.behind_s < CAUGHT_UP_S:
            self.catching_up = False
        return self.catching_up
