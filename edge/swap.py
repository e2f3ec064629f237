"""The states of an update on the device, as one table; the diagram in the docs is drawn from it. Pure.

An update is one attempt to bring one release into service. It walks down the states; it ends committed, fallen back or refused.
- *fail* says the release is bad: before it served it is refused, after that the device falls back, for a while also after the commit.
  All quarantine it.
- *interrupt* says nothing about the release (no link, full disk, tampered by somebody between): it is offered again later.
- A restart while live goes on with the probation; in any earlier state the next check offers the release again, and what had been
  fetched or staged is used.

Here too: when probation has been passed. Not here: files (slots), the self-test's comparison (selftest), doing it (updater).

Example:
    >>> Update(release=2, from_release=1).after(Event.FETCH).state
    <State.FETCHED: 'fetched'>
"""

from __future__ import annotations

from enum import Enum

import msgspec

from edge.paired import Paired
from shared.release.card import Card


class State(Enum):
    """Where an update stands."""

    OFFERED = "offered"
    FETCHED = "fetched"
    VERIFIED = "verified"
    STAGED = "staged"
    BUILT = "built"
    SELF_TESTED = "self-tested"
    LIVE = "live"
    COMMITTED = "committed"
    FALLEN_BACK = "fallen_back"
    REFUSED = "refused"


class Event(Enum):
    """What happens to an update."""

    FETCH = "fetch"
    VERIFY = "verify"
    STAGE = "stage"
    BUILD = "build"
    PASS = "pass"  # noqa: S105 - the event of passing the self-test
    SWAP = "swap"
    COMMIT = "commit"
    FAIL = "fail"
    INTERRUPT = "interrupt"


_WAY = (
    (State.OFFERED, Event.FETCH, State.FETCHED),
    (State.FETCHED, Event.VERIFY, State.VERIFIED),
    (State.VERIFIED, Event.STAGE, State.STAGED),
    (State.STAGED, Event.BUILD, State.BUILT),
    (State.BUILT, Event.PASS, State.SELF_TESTED),
    (State.SELF_TESTED, Event.SWAP, State.LIVE),
    (State.LIVE, Event.COMMIT, State.COMMITTED),
)
_BEFORE_LIVE = tuple(before for before, _, _ in _WAY if before is not State.LIVE)

TABLE: dict[tuple[State, Event], State] = {
    **{(before, event): after for before, event, after in _WAY},
    (State.OFFERED, Event.STAGE): State.STAGED,  # the idle slot held it already, from before a restart
    **{(state, Event.FAIL): State.REFUSED for state in _BEFORE_LIVE},
    (State.LIVE, Event.FAIL): State.FALLEN_BACK,
    (State.COMMITTED, Event.FAIL): State.FALLEN_BACK,  # while it is still watched
    **{(state, Event.INTERRUPT): State.OFFERED for state in _BEFORE_LIVE},
}
"""The whole behaviour: what is not in here cannot happen."""

FINAL = frozenset({State.COMMITTED, State.FALLEN_BACK, State.REFUSED})


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt: which release replaces which (0: none), where it stands and why."""

    release: int
    from_release: int
    state: State = State.OFFERED
    reason: str = ""
    bytes_fetched: int = 0
    by_delta: bool = False

    def after(self, event: Event, reason: str = "") -> Update:
        """Return the update after an event.

        Raises:
            ValueError: the event cannot happen in this state; a defect of the caller.
        """
        state = TABLE.get((self.state, event))
        if state is None:
            raise ValueError(f"{event.value} cannot happen to an update that is {self.state.value}")
        return msgspec.structs.replace(self, state=state, reason=reason or self.reason)


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """How a release has done in service: frames answered, frames it failed on (errors, logits not finite), frames deferred."""

    frames: int = 0
    failures: int = 0
    deferred: int = 0

    def since(self, before: Service) -> Service:
        """Return what was counted after `before`."""
        return Service(
            frames=self.frames - before.frames, failures=self.failures - before.failures, deferred=self.deferred - before.deferred
        )


class Probation(msgspec.Struct, frozen=True, kw_only=True):
    """What a new release must show.

    `frames` answered, no failure, a deferred share within `lowest` and `highest`, and not to be worse on audit samples than the release
    before (paired).
    """

    frames: int
    highest: float = 1.0
    lowest: float = 0.0

    def verdict(self, service: Service, paired: Paired | None = None) -> str | None:
        """Return None while it lasts, "" when it is passed, else the reason to fall back.

        Args:
            service: how it has done since it went live.
            paired: how it has done beside the release before, None where nothing compares them.
        """
        if paired is not None and paired.is_worse:
            return paired.words()
        if service.failures:
            return f"it failed on {service.failures} of {service.frames + service.failures} frames"
        if service.frames < self.frames:
            return None
        share = service.deferred / service.frames
        if not self.lowest <= share <= self.highest:
            return f"it defers {share:.0%} of frames, {self.lowest:.0%} to {self.highest:.0%} were expected"
        return ""


def probation_for(card: Card, *, frames: int, before: Service) -> Probation:
    """Return the probation of a release.

    The card promises a deferred share at its threshold; twice that and 20 points more are allowed, and always 20 points above what
    the replaced release deferred under the same light. Never deferring is only strange where by the promise it would have
    happened with probability 1 - 1e-6.

    Args:
        card: the new release's card.
        frames: how many frames it must answer.
        before: how the replaced release has done.
    """
    promised = promised_share(card)
    seen = before.deferred / before.frames if before.frames else 0.0
    if promised is None:
        return Probation(frames=frames, highest=1.0)
    strange = seen > 0 and (1.0 - promised) ** frames < 1e-6
    return Probation(frames=frames, highest=min(1.0, max(2 * promised, seen) + 0.2), lowest=1.0 / frames if strange else 0.0)


def promised_share(card: Card) -> float | None:
    """Return the share of frames the card says it defers at its threshold, None when it says nothing."""
    if card.calibration is None or not card.deferral_curve:
        return None
    threshold = card.calibration.threshold
    return min(card.deferral_curve, key=lambda point: abs(point.threshold - threshold)).deferred_share


def diagram() -> str:
    """Return the table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.OFFERED.name}"]
    lines += [f"    {before.name} --> {after.name}: {event.value}" for (before, event), after in TABLE.items()]
    lines += [f"    {state.name} --> [*]" for state in State if state in FINAL]
    return "\n".join(lines) + "\n"
