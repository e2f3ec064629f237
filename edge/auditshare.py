"""Which share of frames is drawn for audit now: the device's own, or more while its region asks for it. Pure.

Rules, in order:
1. The region may ask for a share (command `audit-share`), up to the limit that the device's operator set; never for less than its own.
2. An empty argument ends it. What is not repeated lapses after `LEASE_S`, so that a region that is gone costs nothing.
3. What cannot be read is ignored.

Example:
    >>> share = AuditShare(own=0.02, highest=0.25)
    >>> share.ask("0.5", now=0.0), share.at(1.0), share.at(500.0)
    (True, 0.25, 0.02)
"""

from __future__ import annotations

COMMAND = "audit-share"
LEASE_S = 180.0


class AuditShare:
    """The share, from 0 to 1.

    Args:
        own: what the configuration says for every day.
        highest: the most a region may ask for; 0 refuses.
    """

    def __init__(self, *, own: float, highest: float) -> None:
        self._own = own
        self._highest = highest
        self._asked = 0.0
        self._until = float("-inf")

    def ask(self, argument: str, *, now: float) -> bool:
        """Take the region's word; returns whether it could be read.

        Args:
            argument: a decimal number from 0 to 1, or empty to end.
            now: monotonic seconds.
        """
        if not argument:
            self._until = float("-inf")
            return True
        try:
            asked = float(argument)
        except ValueError:
            return False
        if not 0.0 <= asked <= 1.0:
            return False
        self._asked, self._until = asked, now + LEASE_S
        return True

    def at(self, now: float) -> float:
        """Return the share that holds at a monotonic time."""
        return self._own if now >= self._until else max(self._own, min(self._asked, self._highest))
