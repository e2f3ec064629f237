"""How much a device asks of itself: heat, memory and lag take frame rate and resolution down in steps, calm brings them back. Pure.

Rules, in order:
1. Each measure is high, calm or between the two (`BOUNDS`): what is between changes nothing, which is the hysteresis. What cannot be
   read says nothing. Throttling by the hardware (heat, voltage) is high.
2. A measure that stays high for `DOWN_AFTER_S` takes one step down; a temperature at its limit goes to the last step at once.
3. One step back up after `calm_s` in which every measure was calm. `calm_s` begins at `UP_AFTER_S`, doubles (to `LONGEST_CALM_S`) each
   time a step up is taken back within `RELAPSE_S`, and is forgotten after a step up that held.
4. Another power mode makes old waits worthless: `calm_s` begins anew. The mode itself lowers nothing; its heat and lag do.
5. A gap between readings (a suspended process) is no time in which anything was calm or high.

Not here: reading the measures (`vitals`), acting on the step (`throttle`).

Example:
    >>> state = State()
    >>> for now in (0.0, 3.0, 6.0):
    ...     state = after(state, Reading(headroom_c=2.0), now)
    >>> (state.step, state.reason)
    (1, '2.0 degrees below the limit of temperature')
"""

from __future__ import annotations

import msgspec

DOWN_AFTER_S = 5.0
UP_AFTER_S = 60.0
LONGEST_CALM_S = 960.0
RELAPSE_S = 120.0
LONGEST_GAP_S = 30.0


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What a step allows: `rate` of the frames are answered, pictures larger than the network's input are cut to a `shrink`-th a side."""

    rate: float
    shrink: int = 1


STEPS = (
    Step(rate=1.0),
    Step(rate=0.75),
    Step(rate=0.5),
    Step(rate=0.5, shrink=2),
    Step(rate=0.25, shrink=2),
    Step(rate=0.1, shrink=2),
)
LAST = len(STEPS) - 1


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured; None where it cannot be.

    `headroom_c` is how far the zone nearest to its limit is below it, degrees Celsius; `memory_free` the share of memory that is
    available; `lag` the share of frames that newer ones replaced since the last reading; `throttled` names what the hardware holds
    back by itself, empty for nothing; `power_mode` is the board's, empty where it has none.
    """

    headroom_c: float | None = None
    memory_free: float | None = None
    lag: float | None = None
    throttled: str = ""
    power_mode: str = ""

    @property
    def is_empty(self) -> bool:
        """True when neither heat nor throttling can be read: then there is nothing to govern by."""
        return self.headroom_c is None and not self.throttled and not self.power_mode


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """When a measure is high and when calm; `sign` is -1 for a measure of which little is bad."""

    high: float
    calm: float
    sign: int
    words: str


BOUNDS = {
    "headroom_c": Bound(high=5.0, calm=12.0, sign=-1, words="{:.1f} degrees below the limit of temperature"),
    "memory_free": Bound(high=0.06, calm=0.12, sign=-1, words="{:.0%} of memory is left"),
    "lag": Bound(high=0.5, calm=0.1, sign=1, words="{:.0%} of the frames are replaced before they are answered"),
}


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Where the governor stands: the step, why it was taken, and the times (monotonic seconds) its rules need."""

    step: int = 0
    reason: str = ""
    calm_s: float = UP_AFTER_S
    seen_at: float | None = None
    high_since: float | None = None
    calm_since: float | None = None
    raised_at: float | None = None
    power_mode: str = ""
    lowered: int = 0
    raised: int = 0


def after(state: State, reading: Reading, now: float) -> State:
    """Return the state after a reading.

    Args:
        state: the state before.
        reading: what was measured.
        now: monotonic seconds.
    """
    state = _at(state, reading, now)
    reason = pressure(reading)
    if reading.headroom_c is not None and reading.headroom_c <= 0.0 and state.step < LAST:
        return _lowered(state, LAST, reason, now)
    if reason:
        since = now if state.high_since is None else state.high_since
        state = msgspec.structs.replace(state, high_since=since, calm_since=None)
        return _lowered(state, state.step + 1, reason, now) if now - since >= DOWN_AFTER_S and state.step < LAST else state
    if not is_calm(reading):
        return msgspec.structs.replace(state, high_since=None, calm_since=None)
    since = now if state.calm_since is None else state.calm_since
    state = msgspec.structs.replace(state, high_since=None, calm_since=since)
    return _raised(state, now) if state.step and now - since >= state.calm_s else _settled(state, now)


def pressure(reading: Reading) -> str:
    """Return the words of the first measure that is high, empty when none is."""
    if reading.throttled:
        return f"the hardware holds back: {reading.throttled}"
    for name, bound in BOUNDS.items():
        value = getattr(reading, name)
        if value is not None and bound.sign * (value - bound.high) >= 0:
            return bound.words.format(value)
    return ""


def is_calm(reading: Reading) -> bool:
    """Tell whether every measure that could be read is calm."""
    measured = [(getattr(reading, name), bound) for name, bound in BOUNDS.items()]
    return not reading.throttled and all(value is None or bound.sign * (value - bound.calm) <= 0 for value, bound in measured)


def _at(state: State, reading: Reading, now: float) -> State:
    """Take the time and the power mode in: rules 4 and 5."""
    if state.seen_at is not None and not 0.0 <= now - state.seen_at <= LONGEST_GAP_S:
        state = msgspec.structs.replace(state, high_since=None, calm_since=None, raised_at=None)
    if reading.power_mode != state.power_mode:
        state = msgspec.structs.replace(state, power_mode=reading.power_mode, calm_s=UP_AFTER_S)
    return msgspec.structs.replace(state, seen_at=now)


def _lowered(state: State, step: int, reason: str, now: float) -> State:
    relapsed = state.raised_at is not None and now - state.raised_at <= RELAPSE_S
    return msgspec.structs.replace(
        state,
        step=step,
        reason=reason,
        calm_s=min(2.0 * state.calm_s, LONGEST_CALM_S) if relapsed else state.calm_s,
        high_since=now,
        calm_since=None,
        raised_at=None,
        lowered=state.lowered + 1,
    )


def _raised(state: State, now: float) -> State:
    step = state.step - 1
    reason = state.reason if step else ""
    return msgspec.structs.replace(state, step=step, reason=reason, calm_since=now, raised_at=now, raised=state.raised + 1)


def _settled(state: State, now: float) -> State:
    """Forget a doubled wait once a step up has held."""
    if state.raised_at is None or now - state.raised_at <= RELAPSE_S:
        return state
    return msgspec.structs.replace(state, raised_at=None, calm_s=UP_AFTER_S)
