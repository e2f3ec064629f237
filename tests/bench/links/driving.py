"""What one device is asked to do in a comparison, the same for every way of sending: latency, rate, control under upload.

A sender makes cases durable, sends them, and tells when the receiver's word that they are stored has come. Everything is timed with the
monotonic clock, which both namespaces share.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from shared.wire.messages import Case, Picture, Prediction
from tests.bench.links.words import answer, asked

WINDOW, UPLOAD_WINDOW = 32, 4
"""Cases that may be spooled and unconfirmed while the rate is taken; and while control is timed: enough to fill the link, since more would
only make the rivals' small calls wait longer."""
PICTURES = 8
STALLED_S = 120.0
Stored = Callable[[int, float], None]
"""Told the sequence of a stored case and when its receipt was heard, in monotonic seconds."""


class Sender(Protocol):
    """One way of getting cases stored."""

    def start(self, on_stored: Stored, on_announcement: Callable[[float], None]) -> None:
        """Connect; returns when cases can be sent."""

    def offer(self, cases: Sequence[Case], *, is_urgent: bool = False) -> list[int]:
        """Make cases durable and send them; returns their sequences. Urgent ones go before those that wait."""

    def stop(self) -> None:
        """Disconnect."""


def a_case(number: int, data: bytes) -> Case:
    """Return a case with this picture."""
    return Case(
        stream="line", frame=number, unit=f"unit-{number}", captured_at=1.0, reason="margin", is_audit=False, score=0.1, threshold=0.5,
        release=1, prediction=Prediction(index=0, probabilities=(0.6, 0.4)),
        picture=Picture(codec="jpeg", width=640, height=480, data=data),
    )  # fmt: skip


class Driver:
    """Drives one sender.

    Args:
        sender: what is measured.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._changed = threading.Condition()
        self._stored: dict[int, float] = {}
        self._announcements: list[float] = []
        self._pictures: dict[int, list[bytes]] = {}
        self._made = 0

    def serve(self) -> None:
        """Do what standard input asks until it ends."""
        self._sender.start(self._note, self._announcements.append)
        answer(ready=True)
        for words in asked():
            do = words.pop("do")
            answer(**getattr(self, do)(**words))
        self._sender.stop()

    def latency(self, *, count: int, size: int) -> dict[str, Any]:
        """Send one case after another, each when the one before is stored; milliseconds from before the spool to its receipt."""
        times = []
        for case in self._cases(count, size):
            began = time.monotonic()
            sequence = self._sender.offer([case])[0]
            times.append((self._wait_for(sequence) - began) * 1e3)
        return {"ms": times}

    def rate(self, *, seconds: float, warm_s: float, size: int) -> dict[str, Any]:
        """Keep `WINDOW` cases unconfirmed; cases stored per second after the warm-up."""
        began = time.monotonic()
        mine = self._load(size, began + warm_s + seconds, WINDOW)
        stored = [self._wait_for(sequence) for sequence in mine]
        inside = [at for at in stored if began + warm_s <= at < began + warm_s + seconds]
        return {"per_s": len(inside) / seconds}

    def control(self, *, seconds: float, size: int, every_s: float) -> dict[str, Any]:
        """Upload at full rate; meanwhile one small case every `every_s`, and note the announcements that come.

        Returns:
            When announcements came, when each bulk case's receipt came (by sequence), the small cases' milliseconds from before the
            spool to the receipt, and the bulk rate.
        """
        self._announcements.clear()
        end = time.monotonic() + seconds
        small: dict[int, float] = {}
        probing = threading.Thread(target=self._probe, args=(small, end, every_s))
        probing.start()
        began = time.monotonic()
        mine = self._load(size, end, UPLOAD_WINDOW)
        probing.join()
        stored = {sequence: self._wait_for(sequence) for sequence in mine}
        inside = [at for at in stored.values() if at < end]
        return {
            "announcements": list(self._announcements),
            "receipts": {str(sequence): at for sequence, at in stored.items() if at < end},
            "small_ms": [(self._wait_for(sequence) - at) * 1e3 for sequence, at in small.items()],
            "per_s": len(inside) / (end - began),
        }

    def _probe(self, small: dict[int, float], end: float, every_s: float) -> None:
        due = time.monotonic() + 1.0  # the upload is at its full rate by then
        for case in self._cases(int((end - due) / every_s), 1000):
            time.sleep(max(0.0, due - time.monotonic()))  # the probe's pace; it waits for nothing
            at = time.monotonic()
            small[self._sender.offer([case], is_urgent=True)[0]] = at
            due += every_s

    def _load(self, size: int, end: float, window: int) -> list[int]:
        mine: list[int] = []
        while time.monotonic() < end:
            with self._changed:
                while (free := self._free(mine, window)) < window // 4:
                    self._changed.wait(timeout=1.0)
            mine += self._sender.offer(self._cases(free, size))
        return mine

    def _free(self, mine: list[int], window: int) -> int:
        return window - sum(sequence not in self._stored for sequence in mine[-window:])

    def _note(self, sequence: int, at: float) -> None:
        with self._changed:
            self._stored[sequence] = at
            self._changed.notify_all()

    def _wait_for(self, sequence: int) -> float:
        with self._changed:
            if not self._changed.wait_for(lambda: sequence in self._stored, timeout=STALLED_S):
                raise TimeoutError(f"case {sequence} was not stored within {STALLED_S:.0f} s.")
            return self._stored[sequence]

    def _cases(self, count: int, size: int) -> list[Case]:
        pictures = self._pictures.setdefault(size, [os.urandom(size) for _ in range(PICTURES)])
        self._made += count
        return [a_case(self._made - count + number, pictures[number % PICTURES]) for number in range(count)]
