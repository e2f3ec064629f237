"""A cable that a person pulls: which key does what, what a pull means in which state, and what was seen meanwhile. Pure.

Example:
    >>> TABLE[Cable.WHOLE, Pull.CUT].name
    'CUT'
"""

from __future__ import annotations

from enum import Enum

import msgspec


class Cable(Enum):
    """How the cable between devices and region is."""

    WHOLE = "whole"
    CUT = "cut"


class Pull(Enum):
    """What a person may do."""

    CUT = "cut"
    MEND = "mend"
    KILL = "kill the broker"
    QUIT = "quit"


KEYS = {"c": Pull.CUT, "m": Pull.MEND, "k": Pull.KILL, "q": Pull.QUIT}
HINT = "press " + " · ".join(f"{key} {pull.value}" for key, pull in KEYS.items())
TABLE: dict[tuple[Cable, Pull], Cable] = {
    (Cable.WHOLE, Pull.CUT): Cable.CUT,
    (Cable.WHOLE, Pull.KILL): Cable.WHOLE,
    (Cable.WHOLE, Pull.QUIT): Cable.WHOLE,
    (Cable.CUT, Pull.MEND): Cable.WHOLE,
    (Cable.CUT, Pull.KILL): Cable.CUT,
    (Cable.CUT, Pull.QUIT): Cable.WHOLE,  # mended first: what waits is to arrive
}
"""What is possible; a pull that is not here changes nothing and is said to."""
BEFORE_S, AFTER_S = 3.0, 4.0


def script(cut_s: float) -> tuple[tuple[float, Pull], ...]:
    """Return what is done where nobody can press keys: cut, the broker killed half-way, mended, ended. Seconds from the start.

    Args:
        cut_s: how long the cable stays cut.
    """
    return (
        (BEFORE_S, Pull.CUT),
        (BEFORE_S + cut_s / 2, Pull.KILL),
        (BEFORE_S + cut_s, Pull.MEND),
        (BEFORE_S + cut_s + AFTER_S, Pull.QUIT),
    )


class Tally:
    """What was seen of the fleet while the cable was pulled."""

    def __init__(self) -> None:
        self.cuts = 0
        self.cut_s = 0.0
        self.answered_in_cut = 0
        self.peak = 0
        self.waiting = 0
        self.drained_s = 0.0
        self._before: tuple[float, int] | None = None
        self._mended_at: float | None = None

    def see(self, cable: Cable, *, now: float, answered: int, waiting: int, few: int) -> None:
        """Take one look.

        Args:
            cable: how it is now.
            now: monotonic seconds.
            answered: frames all devices have answered so far.
            waiting: cases in all spools.
            few: cases that wait at any moment also on a whole cable.
        """
        if cable is Cable.CUT and self._before is not None:
            self.cut_s += now - self._before[0]
            self.answered_in_cut += max(0, answered - self._before[1])
        self.peak, self.waiting = max(self.peak, waiting), waiting
        if self._mended_at is not None and waiting <= few:
            self.drained_s, self._mended_at = now - self._mended_at, None
        self._before = (now, answered)

    def pulled(self, pull: Pull, *, now: float) -> None:
        """Take note of what was done."""
        self.cuts += pull is Pull.CUT
        if pull is Pull.MEND:
            self._mended_at = now

    def words(self, cable: Cable) -> str:
        """Say how things stand, in a line."""
        state = f"link {cable.value}"
        return f"{state} · {self.answered_in_cut} frames answered without it · {self.waiting} cases wait (peak {self.peak})"


class CableFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a pulled cable came to: seconds cut, frames answered meanwhile, the spools' height; and the recount from the files."""

    cuts: int
    cut_s: float
    answered_in_cut: int
    peak: int
    drained_s: float
    kills: int
    spooled: int
    stored: int
    waiting: int
    evicted: int
    lost: int
    doubled: int

    def lines(self) -> list[str]:
        """Say it, a line each."""
        return [
            f"link cut {_times(self.cuts)} ({self.cut_s:.0f} s): {self.answered_in_cut:,} frames answered without it",
            f"at most {self.peak:,} cases waited; drained {self.drained_s:.1f} s after the link was back",
            f"broker killed with -9: {_times(self.kills)}",
            f"{self.spooled:,} cases spooled = {self.stored:,} in the vault, {self.waiting} still waiting, {self.evicted} evicted",
            f"recounted from the files: lost {self.lost}, doubled {self.doubled}",
        ]


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")
