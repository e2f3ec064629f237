"""Waiting for what another thread or process will do: a condition and a deadline, never a fixed pause."""

from __future__ import annotations

import time
from collections.abc import Callable

INTERVAL_S = 0.01


def until(
    condition: Callable[[], object], what: str | Callable[[], str] = "it", *, within_s: float = 15.0, every_s: float = INTERVAL_S
) -> None:
    """Ask again and again until the condition holds.

    Args:
        condition: asked every `every_s` seconds.
        what: is waited for; a function is asked at the deadline, when it can tell how far things came.
        within_s: the deadline, after which the test fails.
        every_s: longer where asking costs the one that is waited for.
    """
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {within_s:g} s for {what() if callable(what) else what}"
        time.sleep(every_s)  # the interval at which it is asked: nothing rests on its length
