"""When the device asks for updates: at an interval, sooner when told so, but never in a rush. Pure: `now` is an argument.

Rules, in order:
1. Never sooner than `at_least_s` after the last check, however often "refresh now" comes (it is unsigned).
2. Sooner than the interval when somebody asked, or after a failure: `at_least_s`, doubled with every further failure.
3. Until a first check has succeeded (a new device may have no model at all) failures are tried again after 2 s, 4 s, and so on up
   to `at_least_s`; rule 1 begins with the first success.
4. Otherwise after `interval_s`; both are stretched by up to a tenth by the device's own place, so that a fleet does not ask at once.
"""

from __future__ import annotations

FIRST_RETRY_S = 2.0


class Schedule:
    """The next check of one device; times are monotonic seconds.

    Args:
        interval_s: seconds between checks nobody asked for.
        at_least_s: seconds between any two.
        place: the device's own number, 0 to 1.
    """

    def __init__(self, *, interval_s: float, at_least_s: float, place: float = 0.0) -> None:
        self._interval_s = interval_s * (1.0 + place / 10)
        self._at_least_s = min(at_least_s, interval_s) * (1.0 + place / 10)
        self._last: float | None = None
        self._asked = False
        self._failures = 0
        self._succeeded = False

    def ask(self) -> None:
        """Somebody says there is something new."""
        self._asked = True

    def wait_s(self, now: float) -> float:
        """Return the seconds until the next check is due, 0 when it is."""
        if self._last is None:
            return 0.0
        wait = self._interval_s
        if self._failures and not self._succeeded:
            return max(0.0, self._last + min(self._at_least_s, FIRST_RETRY_S * 2.0 ** min(self._failures - 1, 16)) - now)
        if self._failures:
            wait = min(wait, self._at_least_s * 2.0 ** min(self._failures - 1, 16))
        if self._asked:
            wait = self._at_least_s
        return max(0.0, self._last + wait - now)

    def begin(self, now: float) -> None:
        """A check begins; what was asked for until now is served by it."""
        self._last, self._asked = now, False

    def end(self, *, failed: bool) -> None:
        """A check has ended."""
        self._failures = self._failures + 1 if failed else 0
        self._succeeded = self._succeeded or not failed
