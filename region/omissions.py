"""Whether a device leaves audit samples out: the keyed draw is computed again and compared with what came. Pure.

Between two telemetries under one epoch a device draws with that epoch's audit key, which the region has too. So the region knows which
frames of the interval had to be sent. Rules, in order:

1. An interval is judged when both telemetries are of one epoch, process and audit share, at most `LONGEST_S` apart, and the device lost and
   evicted nothing meanwhile; other intervals are counted as unjudged.
2. A drawn frame that was replaced before it reached the model is rightly missing. The device says how many frames it inferred but not
   which, so of `drawn` frames `drawn * (1 - inferred / range)` are expected to be missing: what is dropped is dropped before anybody draws.
3. What did not come is missing once the device has said twice that its spool is empty: it deletes a case only when it is stored here.
4. A device leaves samples out when at least `FEWEST` are missing and so many or more would be missing with probability below `ALPHA`, by
   Chernoff's bound (the frames that are dropped are drawn without replacement, for which the bound holds: Hoeffding 1963).

What this cannot see: a device that says it dropped, lost or evicted what it had drawn; that stands in its counts. A device that lies in
its prediction; nobody can. The time before a device's first epoch, and while telemetry does not come.

Example:
    >>> left_out(missing=40, expected=1.0), left_out(missing=40, expected=38.0), left_out(missing=4, expected=0.0)
    (True, False, False)
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from shared.deferral.audit import is_audit
from shared.wire.messages import StreamCounts, Telemetry

LONGEST_S = 20.0
"""Longer silences may hide another region's epoch (fail-over)."""
LARGEST_RANGE = 20_000
FEWEST = 5
ALPHA = 1e-9
MOST_KEPT = 4096
"""Arrived samples remembered per stream."""
MOST_OPEN = 512
"""Intervals awaiting judgement per device: of a device whose spool is never empty, further ones are not judged."""
MOST_DEVICES = 8192
EMPTY_TIMES = 2
SLACK = 0.5
"""Expected missing at least: counts and frame numbers are not read in one instant."""


class Omitted(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of a device: frames that were drawn, those of them missing, how many of these drops explain, frames not judged."""

    drawn: int = 0
    missing: int = 0
    expected: float = 0.0
    unjudged: int = 0

    def plus(self, other: Omitted) -> Omitted:
        """Return both together."""
        return Omitted(
            drawn=self.drawn + other.drawn,
            missing=self.missing + other.missing,
            expected=self.expected + other.expected,
            unjudged=self.unjudged + other.unjudged,
        )


class _Interval(msgspec.Struct, kw_only=True):
    """Drawn frames of a stream that have not come yet, and how many drops explain."""

    stream: str
    drawn: int
    waiting: set[int]
    expected: float
    gone: tuple[int, int]
    empty: int = 0


class _Device:
    """What is remembered of one device."""

    def __init__(self) -> None:
        self.epoch = -1
        self.said: Telemetry | None = None
        self.heard_at = float("-inf")
        self.came: dict[str, OrderedDict[int, None]] = {}
        self.open: list[_Interval] = []


class Omissions:
    """The devices of one process."""

    def __init__(self) -> None:
        self._devices: OrderedDict[str, _Device] = OrderedDict()

    def came(self, device: str, stream: str, frame: int) -> None:
        """Note that an audit sample of a device is stored."""
        entry = self._device(device)
        arrived = entry.came.setdefault(stream[:256], OrderedDict())
        arrived[frame] = None
        if len(arrived) > MOST_KEPT:
            arrived.popitem(last=False)
        for interval in entry.open:
            if interval.stream == stream:
                interval.waiting.discard(frame)

    def told(self, device: str, message: Telemetry, *, epoch: int, key: bytes, now: float) -> Omitted:
        """Take a device's telemetry and return what it makes certain.

        Args:
            device: whose.
            message: what it says.
            epoch: the epoch it came under.
            key: that epoch's audit key.
            now: monotonic seconds.
        """
        entry = self._device(device)
        before, same = entry.said, entry.epoch == epoch and now - entry.heard_at <= LONGEST_S
        entry.said, entry.epoch, entry.heard_at = message, epoch, now
        found = self._settle(entry, message)
        if before is None:
            return found
        for earlier, later in _pairs(before, message):
            inferred, span = _inferred(later) - _inferred(earlier), later.last_frame - earlier.last_frame
            if not 0 < inferred <= span:
                continue  # nothing new, another process, or an agent that does not say it
            if same and _is_steady(before, message) and span <= LARGEST_RANGE and len(entry.open) < MOST_OPEN:
                self._add(entry, message, earlier, later, key)
            else:
                found = found.plus(Omitted(unjudged=inferred))
        return found

    def _add(self, entry: _Device, message: Telemetry, earlier: StreamCounts, later: StreamCounts, key: bytes) -> None:
        frames = range(earlier.last_frame + 1, later.last_frame + 1)
        drawn = {frame for frame in frames if is_audit(key, later.stream, frame, message.audit_share)}
        dropped = 1.0 - (_inferred(later) - _inferred(earlier)) / len(frames)
        waiting = drawn - entry.came.get(later.stream, {}).keys()
        expected = len(drawn) * dropped
        entry.open.append(_Interval(stream=later.stream, drawn=len(drawn), waiting=waiting, expected=expected, gone=_gone(message)))

    def _settle(self, entry: _Device, message: Telemetry) -> Omitted:
        found, left = Omitted(), []
        for interval in entry.open:
            if interval.gone != _gone(message):
                found = found.plus(Omitted(unjudged=interval.drawn))
                continue
            interval.empty = interval.empty + 1 if message.spool_cases == 0 else 0
            if interval.waiting and interval.empty < EMPTY_TIMES:
                left.append(interval)
            else:
                found = found.plus(Omitted(drawn=interval.drawn, missing=len(interval.waiting), expected=interval.expected))
        entry.open = left
        return found

    def _device(self, name: str) -> _Device:
        found = self._devices.get(name)
        if found is None:
            found = self._devices[name] = _Device()
            if len(self._devices) > MOST_DEVICES:
                self._devices.popitem(last=False)
        else:
            self._devices.move_to_end(name)
        return found


def left_out(*, missing: int, expected: float) -> bool:
    """Tell whether so many missing samples are more than drops explain."""
    mean = max(expected, SLACK)
    if missing < FEWEST or missing <= mean:
        return False
    return missing * math.log(missing / mean) - missing + mean > -math.log(ALPHA)


def _pairs(before: Telemetry, after: Telemetry) -> Iterable[tuple[StreamCounts, StreamCounts]]:
    earlier = {counts.stream: counts for counts in before.streams}
    return [(earlier[counts.stream], counts) for counts in after.streams if counts.stream in earlier and counts.last_frame >= 0]


def _is_steady(before: Telemetry, after: Telemetry) -> bool:
    is_known = 0.0 <= after.audit_share == before.audit_share
    return is_known and _gone(before) == _gone(after) and not after.spool_in_memory


def _gone(message: Telemetry) -> tuple[int, int]:
    """Return how many cases the device says it gave up, after and before it spooled them."""
    return message.evicted, message.audits_lost


def _inferred(counts: StreamCounts) -> int:
    return counts.kept + counts.deferred + counts.audited
