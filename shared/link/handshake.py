"""When a device opens a key epoch, and towards which key. Sans-I/O: `now` (monotonic) and `wall` (Unix seconds) are arguments.

The states are the table `HANDSHAKE`.

Rules, in order:
1. An announcement counts when it verifies and its serial is not below the highest seen; the same key again changes nothing.
2. The opening is sent at once and again, byte for byte, every 5.2 s (regions take one in 5 s) until something authentic arrives.
3. A hint is unauthenticated. It makes the device fetch the announcement and repeat its opening, at most every 5 s; only silence
   afterwards makes a new epoch, also where the first opening was never answered: the region may know it and have lost its keys.
4. A new epoch is due after 24 hours and when its counter is spent, never towards a key that has expired: that asks for the
   announcement, so that a device which slept through rotations comes back by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from shared.errors import TrustError
from shared.wire.announce import verify_announcement
from shared.wire.epoch import Opening, open_epoch
from shared.wire.messages import NEWEST, KeyAnnouncement, Terms
from shared.wire.signed import Sign, Verify

OPEN_AGAIN_S = 5.2
"""A little more than the five seconds in which a region takes one opening; also how long a doubted region may be silent."""
HINT_EVERY_S = 5.0
FETCH_EVERY_S = 5.0
LONGEST_EPOCH_S = 86400.0


class State(Enum):
    """How far the device and its region are."""

    NO_KEY = "no key"
    OPENING = "opening"
    OPEN = "open"
    DOUBTED = "doubted"


class Event(Enum):
    """What happens to an epoch."""

    NEW_KEY = "new key"
    HEARD = "authentic word"
    HINT = "hint"
    SILENCE = "5.2 s of silence after a hint"
    DUE = "24 h or a spent counter"


HANDSHAKE: dict[tuple[State, Event], State] = {
    (State.NO_KEY, Event.NEW_KEY): State.OPENING,
    (State.OPENING, Event.HEARD): State.OPEN,
    (State.OPENING, Event.NEW_KEY): State.OPENING,
    (State.OPENING, Event.SILENCE): State.OPENING,
    (State.OPENING, Event.DUE): State.OPENING,
    (State.OPEN, Event.NEW_KEY): State.OPENING,
    (State.OPEN, Event.HINT): State.DOUBTED,
    (State.OPEN, Event.DUE): State.OPENING,
    (State.DOUBTED, Event.HEARD): State.OPEN,
    (State.DOUBTED, Event.NEW_KEY): State.OPENING,
    (State.DOUBTED, Event.SILENCE): State.OPENING,
    (State.DOUBTED, Event.DUE): State.OPENING,
}


class Handshake:
    """One device's openings.

    Args:
        device: its common name.
        region: the region it belongs to.
        suite: cipher suite of its epochs.
        chain: its certificates, DER, leaf first.
        signer: signs with its certificate key.
        verify: verifies the region's chain.
        random: returns that many unpredictable bytes.
        terms: returns what the device reads and wishes, for its next opening.
    """

    def __init__(
        self,
        *,
        device: str,
        region: str,
        suite: int,
        chain: Sequence[bytes],
        signer: Sign,
        verify: Verify,
        random: Callable[[int], bytes],
        terms: Callable[[], Terms] = lambda: NEWEST,
    ) -> None:
        self._device = device
        self._region = region
        self._suite = suite
        self._chain = chain
        self._signer = signer
        self._verify = verify
        self._random = random
        self._spool_id = b""
        self._make_terms = terms
        self.terms = NEWEST
        self._opened_at = 0.0
        self._open_sent_at: float | None = None
        self._hinted_at: float | None = None
        self._doubted_at: float | None = None
        self._fetched_at: float | None = None
        self._wants_key = False
        self.announcement: KeyAnnouncement | None = None
        self.opening: Opening | None = None
        self.state = State.NO_KEY
        self.serial = 0
        self.openings_sent = 0

    def begin(self, *, spool_id: bytes, lowest_serial: int) -> None:
        """Set what is known only once the state folder has been read."""
        self._spool_id = spool_id
        self.serial = lowest_serial

    def announced(self, data: bytes, *, now: float, wall: float) -> bool:
        """Take an announcement; returns whether a new epoch began.

        Raises:
            ProtocolError: it is none.
            IdentityError: it is not the region's.
            TrustError: it is old, expired or replayed.
        """
        announcement = verify_announcement(data, verify=self._verify, region=self._region, now=wall, lowest_serial=self.serial)
        known = self.announcement
        is_new = known is None or (known.key_id, known.vault_id) != (announcement.key_id, announcement.vault_id)
        if is_new:
            self._open(announcement, now, Event.NEW_KEY)
        self.announcement, self.serial, self._wants_key = announcement, announcement.serial, False
        return is_new

    def hinted(self, now: float) -> None:
        """Take the region's unauthenticated word that our epoch or key is unknown there."""
        if self._hinted_at is not None and now - self._hinted_at < HINT_EVERY_S:
            return
        self._hinted_at = now
        self._wants_key = True
        self._doubted_at = now if self._doubted_at is None else self._doubted_at  # later hints do not put the end of silence off
        self._apply(Event.HINT)

    def heard(self) -> bool:
        """Take note that something opened under the current epoch; returns whether this made the epoch open."""
        self._doubted_at = None
        return self._apply(Event.HEARD)

    def renewed(self, *, now: float, wall: float, is_spent: bool) -> bool:
        """Begin a new epoch where one is due; returns whether it did."""
        if self.announcement is None:
            return False
        is_silent = self._doubted_at is not None and now - self._doubted_at >= OPEN_AGAIN_S
        if not (is_silent or is_spent or now - self._opened_at >= LONGEST_EPOCH_S):
            return False
        if wall > self.announcement.not_after:
            self._wants_key = True  # no epoch is opened towards an expired key
            return False
        self._open(self.announcement, now, Event.SILENCE if is_silent else Event.DUE)
        return True

    def wants_key(self, now: float) -> bool:
        """Whether to fetch the announcement now; what is returned as True counts as done."""
        if not (self.state is State.NO_KEY or self._wants_key):
            return False
        if self._fetched_at is not None and now - self._fetched_at < FETCH_EVERY_S:
            return False
        self._fetched_at = now
        return True

    def open_to_send(self, now: float) -> bytes | None:
        """Return the opening when it is to be sent now; what is returned counts as sent."""
        if self.opening is None or self.state is State.OPEN:
            return None
        if self._open_sent_at is not None and now - self._open_sent_at < OPEN_AGAIN_S:
            return None
        self._open_sent_at = now
        self.openings_sent += 1
        return self.opening.data

    def reconnected(self) -> None:
        """The opening may have been lost with the connection: an unheard one is sent again at once."""
        if self.state is not State.OPEN:
            self._open_sent_at = None

    def words(self, now: float) -> dict[str, object]:
        """Return the state for people: what it is, for how many seconds, by which announcement, after how many openings."""
        return {
            "state": self.state.value,
            "age_s": 0.0 if self.opening is None else round(now - self._opened_at, 1),
            "key_serial": self.serial,
            "key_ends_at": None if self.announcement is None else self.announcement.not_after,
            "openings": self.openings_sent,
        }

    @property
    def reads(self) -> int:
        """The schema the region reads; 1 before it has said so."""
        return 1 if self.announcement is None else self.announcement.schema

    @property
    def dictionaries(self) -> tuple[bytes, ...]:
        """Digests of the dictionaries the region reads, newest first."""
        return () if self.announcement is None else self.announcement.dictionaries

    @property
    def vault_id(self) -> str:
        """The vault the current epoch is for.

        Raises:
            TrustError: no region has announced one yet.
        """
        if self.announcement is None:
            raise TrustError("no region has announced its key yet.")
        return self.announcement.vault_id

    def _apply(self, event: Event) -> bool:
        after = HANDSHAKE.get((self.state, event))
        self.state = after or self.state
        return after is not None

    def _open(self, announcement: KeyAnnouncement, now: float, why: Event) -> None:
        self.terms = terms = self._make_terms()
        self.opening = open_epoch(
            announcement=announcement,
            device=self._device,
            spool_id=self._spool_id,
            suite=self._suite,
            identity_chain=self._chain,
            signer=self._signer,
            random=self._random,
            terms=terms,
        )
        self._apply(why)
        self._opened_at = now
        self._open_sent_at = None
        self._doubted_at = None
        self.openings_sent = 0
