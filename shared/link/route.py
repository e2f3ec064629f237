"""To which region a device's cases go: its own, or while that is silent another one that admits it. Sans-I/O, like what it steers.

Rules, in order; the states are the table `ROUTE`:
1. A region is heard when something authentic of it has come in the last six seconds. A connected broker is no region.
2. When the active region has been silent for `silence_s`, all are sought, its own first; the first that is heard becomes active.
3. Away, the device goes home once home has been heard for ten seconds on end.
4. Becoming active means: every case that the others cannot have goes there. A case that another may have stays with that one, is sent
   to it whenever it is there, and has its effect there or nowhere else.
5. The new owners are kept on disk before anything is sent to them; what cannot be kept is not done. So is, at a start, that what an
   orderly end called unsent may be sent from now on.
6. A region that stays silent for a day while it holds cases loses them to the active one, as `HELD_CASE`: kept and answered there,
   without effect. From then on they are anybody's, always without effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum

from shared.link.conversation import Conversation
from shared.link.ownership import ANYBODY, HELD_S, Holding, Owner, Ownership, ranges_of
from shared.link.retention import Waiting
from shared.wire.messages import Kind

SILENCE_S = 30.0
HEARD_S = 6.0
"""Three telemetries: a region answers each of them."""
STEADY_S = 10.0


class State(Enum):
    """Where cases go."""

    HOME = "home"
    SEEKING = "seeking"
    AWAY = "away"


class Event(Enum):
    """What happens to the regions."""

    SILENCE = "the active region is silent"
    HOME_HEARD = "home is heard"
    OTHER_HEARD = "another region is heard"
    HOME_STEADY = "home is heard for 10 s"


ROUTE: dict[tuple[State, Event], State] = {
    (State.HOME, Event.SILENCE): State.SEEKING,
    (State.SEEKING, Event.HOME_HEARD): State.HOME,
    (State.SEEKING, Event.OTHER_HEARD): State.AWAY,
    (State.AWAY, Event.SILENCE): State.SEEKING,
    (State.AWAY, Event.HOME_STEADY): State.HOME,
}

Keep = Callable[[Ownership], None]
"""Makes the record durable; raises a StorageError when that is not possible."""


class Route:
    """One device and the regions that admit it.

    Args:
        home: the device's own region.
        conversations: with every region by name, home among them; the order of the others is the order of choice.
        silence_s: how long the active region may be silent.
    """

    def __init__(self, *, home: str, conversations: Mapping[str, Conversation], silence_s: float = SILENCE_S) -> None:
        self._home = home
        self._conversations = {home: conversations[home], **conversations}
        self._silence_s = silence_s
        self._spool_id = b""
        self._record: Ownership | None = None
        self._unsent: list[tuple[Waiting, Owner]] = []
        self._found: Ownership | None = None
        self._highest = 0
        self._heard_at: dict[str, float] = {}
        self._heard_since: dict[str, float] = {}
        self._active_since = 0.0
        self.state = State.HOME
        self.active = home
        self.switches = 0

    def begin(self, waiting: Iterable[Waiting], record: Ownership | None, *, spool_id: bytes, now: float) -> None:
        """Take up what the spool holds, each case with the region it belongs to.

        Args:
            waiting: the spool's cases.
            record: what an earlier process kept, None where there is nothing.
            spool_id: the spool's; a record of another spool says nothing.
            now: monotonic seconds.
        """
        self._spool_id, self._active_since = spool_id, now
        known = record if record is not None and record.spool_id == spool_id else Ownership(spool_id=spool_id, active=self._home)
        self.active = known.active if known.active in self._conversations else self._home
        self.state = State.HOME if self.active == self._home else State.AWAY
        self._found = known
        for item in waiting:
            owner = known.owner(item.sequence)
            self._highest = max(self._highest, item.sequence)
            if owner.may_have or len(self._conversations) == 1:
                self._restore(item, owner, known.active)
            else:
                self._unsent.append((item, owner))
        self._record = known if known is record and not known.exact_below else None

    def offered(self, items: Iterable[Waiting], *, evicted: Iterable[int]) -> None:
        """Take new cases for the active region, and let those go that have left the spool."""
        gone = list(evicted)
        for conversation in self._conversations.values():
            conversation.session.forget(gone)
        self._unsent = [(item, owner) for item, owner in self._unsent if item.sequence not in gone]
        for item in items:
            self._highest = max(self._highest, item.sequence)
            self._conversations[self.active].session.add(item)

    def heard(self, region: str, now: float) -> None:
        """Take note that something authentic of a region has come."""
        if now - self._heard_at.get(region, float("-inf")) > HEARD_S:
            self._heard_since[region] = now
        self._heard_at[region] = now

    def step(self, now: float, wall: float, keep: Keep) -> bool:
        """Let time take effect; returns whether the active region has changed.

        Args:
            now: monotonic seconds.
            wall: Unix seconds.
            keep: see `Keep`; what it raises leaves everything as it was.
        """
        if self._record is None and len(self._conversations) > 1:
            self._keep(self.active, wall, keep)
            unsent, self._unsent = self._unsent, []
            for item, owner in unsent:
                self._restore(item, owner, owner.region)
        self._give_away(now, wall, keep)
        event, region = self._event(now)
        after = None if event is None else ROUTE.get((self.state, event))
        if after is None:
            return False
        if region != self.active:
            self._keep(region, wall, keep)
        self.state, self._active_since = after, now
        return self._move(region)

    def wanted(self) -> list[str]:
        """Return the regions to be connected to: home, the active one, those that hold cases, and all while one is sought."""
        return [
            name
            for name, conversation in self._conversations.items()
            if self.state is State.SEEKING or name in {self._home, self.active} or conversation.session.exposed()
        ]

    def held(self) -> dict[str, int]:
        """Return how many cases wait for the word of a region other than the active one."""
        counts = {name: len(self._conversations[name].session.exposed()) for name in self._conversations if name != self.active}
        return {name: count for name, count in counts.items() if count}

    def final(self, wall: float) -> Ownership:
        """Return the record of an orderly end: exactly what each region may have."""
        if self._unsent and self._found is not None:
            return self._found  # what was found holds still: nothing of that has been sent
        return self._owners(self.active, wall, exact_below=self._highest + 1)

    @property
    def conversation(self) -> Conversation:
        """The talk with the active region."""
        return self._conversations[self.active]

    def _restore(self, item: Waiting, owner: Owner, active: str) -> None:
        if owner.region in self._conversations:
            self._conversations[owner.region].session.add(item, was_exposed=owner.may_have)
        else:  # given to anybody, or its region stands in the configuration no more
            kind = Kind.CASE if owner.region == active and not owner.may_have else Kind.HELD_CASE
            self._conversations[self.active].session.add(item, kind=kind)

    def _event(self, now: float) -> tuple[Event | None, str]:
        if self.state is State.SEEKING:
            found = next((name for name in self._conversations if self._is_heard(name, now)), None)
            if found is None:
                return None, self.active
            return Event.HOME_HEARD if found == self._home else Event.OTHER_HEARD, found
        if self.state is State.AWAY and self._is_heard(self._home, now) and now - self._heard_since[self._home] >= STEADY_S:
            return Event.HOME_STEADY, self._home
        is_silent = now - max(self._heard_at.get(self.active, self._active_since), self._active_since) >= self._silence_s
        return Event.SILENCE if is_silent and len(self._conversations) > 1 else None, self.active

    def _is_heard(self, region: str, now: float) -> bool:
        return now - self._heard_at.get(region, float("-inf")) <= HEARD_S and self._conversations[region].is_open

    def _give_away(self, now: float, wall: float, keep: Keep) -> None:
        for name, conversation in self._conversations.items():
            if name == self.active or self._is_heard(name, now) or self._record is None:
                continue
            if wall - self._record.since(name, wall) >= HELD_S and conversation.session.exposed():
                self._keep(self.active, wall, keep, given=name)
                self._take_in(conversation.session.surrender(), self.active)

    def _move(self, region: str) -> bool:
        if region == self.active:
            return False
        self.active = region
        self.switches += 1
        for name, conversation in self._conversations.items():
            if name != region:
                self._take_in(conversation.session.release(), region)
        return True

    def _take_in(self, found: Iterable[tuple[Waiting, Kind]], region: str) -> None:
        for item, kind in found:
            self._conversations[region].session.add(item, kind=kind)

    def _keep(self, active: str, wall: float, keep: Keep, given: str | None = None) -> None:
        record = self._owners(active, wall, given=given)
        keep(record)
        self._record = record

    def _owners(self, active: str, wall: float, *, given: str | None = None, exact_below: int = 0) -> Ownership:
        """Return the record that holds once `active` is active and what region `given` held is anybody's."""
        sessions = {name: conversation.session for name, conversation in self._conversations.items()}
        free = {sequence for session in sessions.values() for sequence in session.anybodys()}
        holdings = {name: session.exposed() for name, session in sessions.items() if exact_below or name != active}
        holdings[ANYBODY] = [*free, *(holdings.pop(given) if given is not None else ())]
        before = self._record or Ownership(spool_id=self._spool_id, active=active)
        held = tuple(
            Holding(region=name, since=before.since(name, wall), ranges=ranges_of(found)) for name, found in holdings.items() if found
        )
        return Ownership(spool_id=self._spool_id, active=active, held=held, exact_below=exact_below)
