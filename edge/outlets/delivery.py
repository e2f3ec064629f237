"""What became of an attempt to deliver, and what follows from it. Pure.

Rules, in order:
1. 2xx: delivered.
2. 400, 413, 422: the other side will never have this batch; it is lost as `refused`, and the next one is tried.
3. Everything else (also redirects, which are not followed, and 401 to 404, which people correct): again, after a back-off that doubles
   with full jitter, and not before a `Retry-After` in seconds, of 300 s at most.
"""

from __future__ import annotations

from enum import Enum

import msgspec

NEVER = frozenset({400, 413, 422})
FIRST_BACKOFF_S, LONGEST_BACKOFF_S, LONGEST_RETRY_AFTER_S = 0.5, 60.0, 300.0


class Outcome(Enum):
    """How an attempt ended."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    AGAIN = "again"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt's end: why it did not deliver, and for how long (seconds) the other side asked to be left alone."""

    outcome: Outcome
    reason: str = ""
    wait_s: float = 0.0


DELIVERED = Attempt(outcome=Outcome.DELIVERED)


def again(reason: str, wait_s: float = 0.0) -> Attempt:
    """Return an attempt that is to be repeated."""
    return Attempt(outcome=Outcome.AGAIN, reason=reason, wait_s=wait_s)


def judge(status: int, retry_after: str = "") -> Attempt:
    """Return what an HTTP answer means.

    Args:
        status: of the answer.
        retry_after: its header of that name (RFC 9110, 10.2.3); a date is passed over.
    """
    if 200 <= status < 300:
        return DELIVERED
    if status in NEVER:
        return Attempt(outcome=Outcome.REFUSED, reason=f"it answered {status} and will not have these events")
    asked = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
    return again(f"it answered {status}", min(asked, LONGEST_RETRY_AFTER_S))


def backoff_s(failures: int, share: float) -> float:
    """Return how long to wait after so many failures in a row.

    Args:
        failures: 1 or more.
        share: drawn from 0 to 1 (full jitter).
    """
    return share * min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 16))
