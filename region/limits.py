"""How much one device may send: token buckets for messages and bytes, and what follows from how deep they are spent. Pure.

A bucket fills at the limit's rate up to two seconds' worth; each message spends of it, also below zero. In order of depth:
1. Above zero: PASS.
2. Below zero: SLOW. The message is taken, but no new credit is given until the bucket has filled again. A device that obeys credit stays
   here: it can be ahead by what its last credit allowed and no more, which is half of `AHEAD_MESSAGES`.
3. Further ahead than credit explains: DROP.
4. `patience_s` seconds' worth of the limit further: FLOOD. A device ten times over its limit is there ten times as soon as one twice over.

Messages that are refused (not authentic, replayed, of no known epoch, ...) spend of a third bucket, which only says FLOOD: an honest device
has many of them at a time after a restart of its region, and then no more.

Example:
    >>> limits = DeviceLimits(Rates(messages_per_s=10, bytes_per_s=1000, refused_per_s=1, patience_s=3.0))
    >>> limits.arrived(100, now=0.0)
    <Verdict.PASS: 0>
    >>> [limits.arrived(1, now=0.0) for _ in range(540)][-1].name
    'DROP'
    >>> limits.arrived(1, now=120.0).name
    'PASS'

Source: the token bucket as in RFC 2697, with a debt instead of a second bucket.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import IntEnum

import msgspec

BURST_S = 2.0
AHEAD_MESSAGES = 512
"""Twice the credit window (liveepoch): what may be under way when credit is no longer given, and as much of control."""
AHEAD_BYTES = AHEAD_MESSAGES * (16 << 10)
MOST_REFUSED_AT_ONCE = 4096
MOST_DEVICES = 8192


class Verdict(IntEnum):
    """What becomes of a message, by how far its device is over its limit."""

    PASS = 0
    SLOW = 1
    DROP = 2
    FLOOD = 3


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one device, per second, and for how many seconds' worth a device may be over one before it counts as a flooder."""

    messages_per_s: float
    bytes_per_s: float
    refused_per_s: float
    patience_s: float


class Bucket:
    """A token bucket that can be in debt.

    Args:
        rate: tokens per second.
        burst: how many it holds; it begins full.
        ahead: debt that credit explains.
        patience: debt beyond that which makes a flooder.
    """

    def __init__(self, *, rate: float, burst: float, ahead: float, patience: float) -> None:
        self._rate, self._burst, self._ahead, self._patience = rate, burst, ahead, patience
        self._level = burst
        self._at: float | None = None

    def spend(self, tokens: float, *, now: float) -> Verdict:
        """Spend and say how deep that is; `now` in monotonic seconds."""
        self._fill(now)
        self._level -= tokens
        return self._verdict()

    def look(self, *, now: float) -> Verdict:
        """Say how deep it is now."""
        self._fill(now)
        return self._verdict()

    def _fill(self, now: float) -> None:
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now if self._at is None else max(self._at, now)
        self._level = min(self._burst, self._level + passed * self._rate)

    def _verdict(self) -> Verdict:
        if self._level >= 0:
            return Verdict.PASS
        if self._level >= -self._ahead:
            return Verdict.SLOW
        return Verdict.DROP if self._level >= -(self._ahead + self._patience) else Verdict.FLOOD


class DeviceLimits:
    """The buckets of one device.

    Args:
        rates: its limits.
    """

    def __init__(self, rates: Rates) -> None:
        self._messages = _bucket(rates.messages_per_s, AHEAD_MESSAGES, rates.patience_s)
        self._bytes = _bucket(rates.bytes_per_s, AHEAD_BYTES, rates.patience_s)
        self._refused = _bucket(rates.refused_per_s, MOST_REFUSED_AT_ONCE, rates.patience_s)

    def arrived(self, size: int, *, now: float) -> Verdict:
        """Count a message of `size` bytes."""
        return max(self._messages.spend(1, now=now), self._bytes.spend(size, now=now))

    def refused(self, *, now: float) -> Verdict:
        """Count a message that was refused; only FLOOD means anything."""
        return self._refused.spend(1, now=now)

    def look(self, *, now: float) -> Verdict:
        """Say how far over its limits the device is now."""
        return max(self._messages.look(now=now), self._bytes.look(now=now))


class Limits:
    """The buckets of every device heard lately: those not heard longest are forgotten first, and begin anew with full buckets.

    Args:
        rates: the limits of each.
    """

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._devices: OrderedDict[str, DeviceLimits] = OrderedDict()

    def of(self, device: str) -> DeviceLimits:
        """Return a device's buckets."""
        found = self._devices.get(device)
        if found is None:
            found = self._devices[device] = DeviceLimits(self._rates)
            if len(self._devices) > MOST_DEVICES:
                self._devices.popitem(last=False)
        else:
            self._devices.move_to_end(device)
        return found

    def forget(self, device: str) -> None:
        """Let a device begin anew."""
        self._devices.pop(device, None)


def _bucket(rate: float, ahead: float, patience_s: float) -> Bucket:
    return Bucket(rate=rate, burst=BURST_S * rate, ahead=ahead, patience=patience_s * rate)
