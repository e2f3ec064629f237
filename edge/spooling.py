"""The spool's writer: takes frames that must be sent, encodes their pictures, and makes them durable cases.

One thread, so that neither the picture codec nor the disk nor the link is ever waited for by inference. What cannot be made a case
is counted, and its frame's event becomes final at the deadline.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from edge.config import PictureSettings
from edge.events import Inferred, sent_part
from edge.handover import HandOver
from edge.waiting import Key
from shared import clock, log
from shared.deferral.policy import Action
from shared.link.spool import NewCase
from shared.release.card import Card
from shared.vision import picture
from shared.vision.crops import cut
from shared.vision.quality import EncodeTimes, LinkLoad, choose
from shared.wire.messages import Case, encode

NOT_SPOOLED, ENDED = "case_not_spooled", "cases_ended"
FALLBACK_QUALITY = 80
UNKNOWN_LOAD = LinkLoad()
GROUP = 16
"""Cases that share one transaction at most: a synced transaction costs milliseconds, however many cases are in it."""
Offer = Callable[[Sequence[NewCase]], "tuple[int | None, ...]"]
"""Stores a group of cases durably and offers them to the region; returns their sequences, None for one that had to give way."""


class CaseWriter:
    """Drains the hand-over into the spool.

    Args:
        frames: where the frames wait.
        pictures: what the configuration says of codec and quality.
        card: the running model's card, None before the first.
        offer: stores a group of cases.
        bind: told the sequence of each stored case's frame that awaits an answer.
        audited: told the sequence and frame of each stored audit sample.
        tend: called about every second with monotonic seconds; lets the spool go back to a disk that can be written again.
        spent: told the bytes of each stored case, and whether it is an audit sample.
        load: returns how fast the link is and how much waits for it.
    """

    def __init__(
        self,
        *,
        frames: HandOver,
        pictures: PictureSettings,
        card: Callable[[], Card | None],
        offer: Offer,
        bind: Callable[[int, Key], None],
        audited: Callable[[int, Inferred], None] | None = None,
        tend: Callable[[float], None] | None = None,
        load: Callable[[], LinkLoad] = LinkLoad,
        spent: Callable[[int, bool], None] | None = None,
    ) -> None:
        self._frames = frames
        self._pictures = pictures
        self._card = card
        self._offer = offer
        self._bind = bind
        self._audited = audited
        self._load = load
        self._spent = spent
        self._times = EncodeTimes()
        self._tend = tend
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="cases", daemon=True)
        self.spooled = 0
        self.refused = 0
        self.failed = 0

    def start(self) -> None:
        """Begin to write cases."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, then end; the log has the count of what was to be sent and became no case."""
        self._stopping = True
        self._frames.close()
        self._thread.join(timeout=10)
        dropped = self._frames.dropped_hard + self._frames.dropped_audit
        log.get("cases").info(ENDED, spooled=self.spooled, dropped=dropped, not_spooled=self.failed + self.refused, left=len(self._frames))

    def _run(self) -> None:
        while True:
            group = self._frames.take(GROUP, timeout_s=1.0)
            if self._tend is not None:
                self._tend(clock.monotonic())
            if group:
                self._write(group)
            elif self._stopping:
                return

    def _write(self, group: Sequence[Inferred]) -> None:
        made = [(inferred, case) for inferred in group if (case := self._made(inferred)) is not None]
        try:
            sequences = self._offer([case for _, case in made]) if made else ()
        except Exception as error:  # noqa: BLE001 - whatever fails here costs these cases; the next ones are tried again
            self._fail([inferred for inferred, _ in made], error)
            return
        for (inferred, case), sequence in zip(made, sequences, strict=True):
            if sequence is None:
                self.refused += 1
                continue
            self.spooled += 1
            if self._spent is not None:
                self._spent(len(case.payload), case.is_audit)
            if inferred.decision.awaits_answer:
                self._bind(sequence, inferred.key)
            if self._audited is not None and inferred.decision.action is Action.AUDIT:
                self._audited(sequence, inferred)

    def _made(self, inferred: Inferred) -> NewCase | None:
        """Return a frame's case, None where none can be made of it: it is counted, and costs no other its case."""
        try:
            return self._new_case(inferred)
        except Exception as error:  # noqa: BLE001 - a codec's surprise
            self._fail([inferred], error)
            return None

    def _fail(self, group: Sequence[Inferred], error: Exception) -> None:
        self.failed += len(group)
        log.get("cases").warning(NOT_SPOOLED, frames=[inferred.key for inferred in group], reason=str(error))

    def _new_case(self, inferred: Inferred) -> NewCase:
        codec, quality = encoding(self._pictures, self._card(), self._load(), self._times.seconds)
        began = clock.monotonic()
        case = make_case(inferred, codec=codec, quality=quality)
        self._times.note(codec, clock.monotonic() - began)
        payload = encode(case)
        return NewCase(payload=payload, is_audit=inferred.decision.action is Action.AUDIT, value=inferred.decision.value)


def encoding(
    settings: PictureSettings, card: Card | None, load: LinkLoad = UNKNOWN_LOAD, seconds: Mapping[str, float] | None = None
) -> tuple[str, int]:
    """Return codec and quality of a picture: the configuration's, else what the card's table says for this link, else webp 80."""
    if settings.quality is not None:
        return settings.codec, settings.quality
    if card is None or not card.picture_quality:
        return settings.codec, FALLBACK_QUALITY
    point = choose(card.picture_quality, load, seconds or {})
    return point.codec, point.quality


def make_case(inferred: Inferred, *, codec: str, quality: int) -> Case:
    """Return the case of a frame, with its picture encoded: of the uncertain part where there is one, else of the whole.

    Raises:
        InputError: the picture cannot be encoded.
    """
    frame, decision, part = inferred.frame, inferred.decision, sent_part(inferred)
    whole = frame.picture()
    pixels, crop = (whole, None) if part is None else cut(whole, part)
    return Case(
        stream=frame.stream,
        frame=frame.number,
        unit=frame.unit,
        captured_at=frame.captured_at,
        reason=decision.reason,
        is_audit=decision.action is Action.AUDIT,
        score=decision.score,
        threshold=decision.threshold,
        release=inferred.release,
        prediction=inferred.prediction,
        picture=picture.encode(pixels, codec=codec, quality=quality),
        crop=crop,
    )
