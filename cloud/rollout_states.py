"""The states of a rollout, as one table; the diagram in the docs is drawn from it. Pure.

- *canary*: a small share of the devices runs the release. *widening*: a larger one does, up to all of them.
- *asking*: the reports cannot decide; a person does. *paused*: a person wants no further step. Both still halt by themselves.
- *halted* (by what devices and audit samples say) and *aborted* (by a person, or by a newer release) take the release back from every
  device; *done* leaves it with every device.

Example:
    >>> after(State.CANARY, Event.WIDEN)
    <State.WIDENING: 'widening'>
"""

from __future__ import annotations

from enum import Enum

from shared.errors import FederationError


class State(Enum):
    """Where a rollout stands."""

    CANARY = "canary"
    WIDENING = "widening"
    ASKING = "asking"
    PAUSED = "paused"
    HALTED = "halted"
    ABORTED = "aborted"
    DONE = "done"


class Event(Enum):
    """What happens to a rollout; the last four are a person's acts."""

    WIDEN = "widen"
    FINISH = "finish"
    ASK = "ask"
    HALT = "halt"
    PROMOTE = "promote"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"


_WATCHING = (State.CANARY, State.WIDENING)
OPEN = (*_WATCHING, State.ASKING, State.PAUSED)
TAKEN_BACK = (State.HALTED, State.ABORTED)
ACTS = (Event.PROMOTE, Event.PAUSE, Event.RESUME, Event.ABORT)

TABLE: dict[tuple[State, Event], State] = {
    **{(state, Event.WIDEN): State.WIDENING for state in _WATCHING},
    **{(state, Event.FINISH): State.DONE for state in _WATCHING},
    **{(state, Event.ASK): State.ASKING for state in _WATCHING},
    **{(state, Event.PAUSE): State.PAUSED for state in (*_WATCHING, State.ASKING)},
    (State.PAUSED, Event.RESUME): State.WIDENING,
    **{(state, Event.PROMOTE): State.WIDENING for state in OPEN},
    **{(state, Event.HALT): State.HALTED for state in OPEN},
    **{(state, Event.ABORT): State.ABORTED for state in OPEN},
}
"""The whole behaviour: what is not in here cannot happen."""


def after(state: State, event: Event) -> State:
    """Return the state that follows.

    Raises:
        FederationError: the event cannot happen in this state.
    """
    found = TABLE.get((state, event))
    if found is None:
        raise FederationError(f"a rollout that is {state.value} takes no {event.value}.", "See: terrace cloud rollout list.")
    return found
