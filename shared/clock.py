"""The one place where daemons read the time. Pure logic never does: it takes `now` as an argument.

Wall time (`wall`) goes into records and certificates; `monotonic` measures durations and never steps back.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]

wall: Clock = time.time
"""Seconds since the Unix epoch."""

monotonic: Clock = time.monotonic
"""Seconds from an arbitrary start, never going back."""
