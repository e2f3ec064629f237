"""The states of a case and of a link's answers, as tables; the diagrams in docs/link.md are drawn from them. Pure.

Delivery: a case waits, its chunks are sent, a receipt stores it; a time-out or a lost connection makes it wait again. Reply: the answer
is expected once the case was sent, late, at last absent. Answers: the same for the link as a whole, as a person or a policy wants to
know it.
"""

from __future__ import annotations

from enum import Enum

from shared.link.retention import Waiting
from shared.wire.chunks import CHUNK_BYTES
from shared.wire.messages import Kind


class Delivery(Enum):
    """Where a case is on its way to the vault."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    STORED = "stored"


class Reply(Enum):
    """What has become of a case's answer."""

    NONE = "none"
    EXPECTED = "expected"
    LATE = "late"
    ANSWERED = "answered"
    ABSENT = "absent"


class Answers(Enum):
    """What a link's answers are like now."""

    EXPECTED = "expected"
    LATE = "late"
    ABSENT = "absent"


class Event(Enum):
    """What happens to a case."""

    BEGIN = "begin"
    LAST_CHUNK = "last chunk"
    TIMEOUT = "timeout"
    RESTED = "rested"
    RESET = "reset"
    RECEIPT = "receipt"
    OVERDUE = "overdue"
    GIVEN_UP = "given up"
    ANSWER = "answer"


DELIVERY: dict[tuple[Delivery, Event], Delivery] = {
    (Delivery.WAITING, Event.BEGIN): Delivery.SENDING,
    (Delivery.WAITING, Event.RECEIPT): Delivery.STORED,  # of an earlier sending
    (Delivery.SENDING, Event.LAST_CHUNK): Delivery.SENT,
    (Delivery.SENDING, Event.RECEIPT): Delivery.STORED,  # of an earlier sending
    (Delivery.SENDING, Event.RESET): Delivery.WAITING,
    (Delivery.SENT, Event.TIMEOUT): Delivery.WAITING,
    (Delivery.SENT, Event.RESET): Delivery.WAITING,
    (Delivery.SENT, Event.RECEIPT): Delivery.STORED,
}
REPLY: dict[tuple[Reply, Event], Reply] = {
    (Reply.NONE, Event.LAST_CHUNK): Reply.EXPECTED,
    (Reply.EXPECTED, Event.OVERDUE): Reply.LATE,
    (Reply.EXPECTED, Event.ANSWER): Reply.ANSWERED,
    (Reply.LATE, Event.ANSWER): Reply.ANSWERED,
    (Reply.LATE, Event.GIVEN_UP): Reply.ABSENT,
}
ANSWERS: dict[tuple[Answers, Event], Answers] = {
    (Answers.EXPECTED, Event.OVERDUE): Answers.LATE,
    (Answers.LATE, Event.ANSWER): Answers.EXPECTED,
    (Answers.LATE, Event.GIVEN_UP): Answers.ABSENT,
    (Answers.ABSENT, Event.ANSWER): Answers.EXPECTED,
}


class Record:
    """One case's place in both of its machines, and what is known of its sendings.

    Args:
        item: the case, as the spool holds it.
        kind: as what it travels.
        was_exposed: whether an earlier process may have sent it to this region.
    """

    __slots__ = (
        "chunks", "confirmed", "delivery", "failures", "is_ready", "item", "kind", "rated_from", "reply", "sendings", "sent_at",
        "was_exposed",
    )  # fmt: skip

    def __init__(self, item: Waiting, *, kind: Kind = Kind.CASE, was_exposed: bool = False) -> None:
        self.item = item
        self.kind = kind
        self.was_exposed = was_exposed
        self.delivery = Delivery.WAITING
        self.reply = Reply.NONE
        self.chunks = -(-item.size // CHUNK_BYTES) or 1
        self.sendings = 0
        self.failures = 0
        self.rated_from = self.sent_at = 0.0
        self.confirmed = 0
        self.is_ready = False

    def apply(self, event: Event) -> bool:
        """Move along both tables; False when neither has such a transition."""
        delivery, reply = DELIVERY.get((self.delivery, event)), REPLY.get((self.reply, event))
        self.delivery, self.reply = delivery or self.delivery, reply or self.reply
        return bool(delivery or reply)

    @property
    def order(self) -> tuple[int, float, int]:
        """What it is sorted by among those that wait: audit samples by age, then hard cases by value."""
        return (0, 0.0, self.item.sequence) if self.item.is_audit else (1, -self.item.value, self.item.sequence)

    @property
    def was_sent(self) -> bool:
        """Whether all its chunks have been sent at least once by this process."""
        return self.reply is not Reply.NONE

    @property
    def is_open(self) -> bool:
        """Whether the region's receipt is still to come."""
        return self.delivery is not Delivery.STORED

    @property
    def is_done(self) -> bool:
        """Whether nothing more can come."""
        return self.delivery is Delivery.STORED and self.reply in {Reply.ANSWERED, Reply.ABSENT}
