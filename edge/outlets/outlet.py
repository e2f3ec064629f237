"""One output: events wait in a bounded queue and a thread of its own brings them out, so that nothing it meets ever stops inference.

Rules, in order:
1. `put` never blocks and never fails; where too many wait, the oldest is lost and counted.
2. A batch is delivered, refused for good, or tried again until then: at least once, in order. A receiver knows a repeated event by
   stream, sequence and state.
3. At the end what waits is tried for `STOP_S` more; the rest is counted as lost.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import Any, Protocol

from edge.events import Event
from edge.outlets.backlog import REFUSED, STOPPED, Backlog
from edge.outlets.delivery import Attempt, Outcome, again, backoff_s
from edge.outlets.selection import Selection
from shared import clock, log
from shared.errors import TerraceError

FAILING, DELIVERING, REFUSED_BATCH = "output_failing", "output_delivering_again", "output_refused"
MOST_WAITING = 10_000
STOP_S = 2.0


class Sink(Protocol):
    """Where batches go.

    Attributes:
        kind: one word.
        target: where to, without secrets.
        most: events in one batch.
        gather_s: how long an incomplete batch waits for more.
    """

    kind: str
    target: str
    most: int
    gather_s: float

    def check(self) -> None:
        """Read what the settings name; raises a ConfigurationError for what no waiting mends."""

    def start(self) -> None:
        """Begin, after `check`; returns at once."""

    def deliver(self, batch: Sequence[Event]) -> Attempt:
        """Try to bring a batch out, within a few seconds; the same batch comes again when that is the outcome."""

    def stop(self) -> None:
        """End; a `deliver` under way returns soon."""


class Outlet:
    """One output of events.

    Args:
        name: in the status and in logs.
        sink: where they go.
        selection: which.
        most_waiting: how many events may wait.
    """

    def __init__(self, name: str, sink: Sink, selection: Selection, *, most_waiting: int = MOST_WAITING) -> None:
        self.name = name
        self._sink = sink
        self._selection = selection
        self._backlog: Backlog[Event] = Backlog(most_waiting)
        self._changed = threading.Condition()
        self._until = float("inf")
        self._in_hand = 0
        self._delivered = 0
        self._failures = 0
        self._failing = ""
        self._thread = threading.Thread(target=self._run, name=f"output {name}", daemon=True)

    def check(self) -> None:
        """Check the output's settings without using it.

        Raises:
            ConfigurationError: they cannot be used.
        """
        self._sink.check()

    def start(self) -> None:
        """Begin to deliver.

        Raises:
            ConfigurationError: the output's settings cannot be used.
        """
        self._sink.check()
        self._sink.start()
        self._thread.start()

    def stop(self) -> None:
        """Try what waits a little longer, and end."""
        with self._changed:
            self._until = clock.monotonic() + STOP_S
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=STOP_S)
        self._sink.stop()
        if self._thread.is_alive():
            self._thread.join(timeout=STOP_S)
        with self._changed:
            self._backlog.lose(STOPPED, len(self._backlog.take(MOST_WAITING)))

    def put(self, event: Event) -> None:
        """Let an event wait, if this output wants it; never blocks."""
        if not self._selection.wants(state=event.state, labels=event.names, stream=event.stream):
            return
        with self._changed:
            self._backlog.add(event)
            self._changed.notify()

    def status(self) -> dict[str, Any]:
        """Return where it goes, what it did, what waits, what was lost and why it fails, if it does."""
        with self._changed:
            return {
                "kind": self._sink.kind,
                "target": self._sink.target,
                "delivered": self._delivered,
                "waiting": len(self._backlog) + self._in_hand,
                "lost": self._backlog.lost_in_all(),
                "lost_by_reason": dict(self._backlog.lost),
                "failures": self._failures,
                "failing": self._failing,
            }

    def _run(self) -> None:
        while batch := self._next():
            self._bring(batch)

    def _next(self) -> list[Event]:
        """Return the next batch, empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._backlog) or self._is_stopping())
            if self._sink.gather_s:
                self._changed.wait_for(lambda: len(self._backlog) >= self._sink.most or self._is_stopping(), self._sink.gather_s)
            batch = self._backlog.take(self._sink.most)
            self._in_hand = len(batch)
            return batch

    def _bring(self, batch: list[Event]) -> None:
        tries = 0
        while (attempt := self._attempt(batch)).outcome is Outcome.AGAIN:
            tries += 1
            self._note(attempt)
            if not self._rest(max(attempt.wait_s, backoff_s(tries, random.random()))):  # noqa: S311 - jitter, not a secret
                self._settle(STOPPED)
                return
        if attempt.outcome is Outcome.REFUSED:
            log.get("outputs").warning(REFUSED_BATCH, output=self.name, events=len(batch), reason=attempt.reason)
            self._settle(REFUSED)
        else:
            self._settle("")

    def _attempt(self, batch: list[Event]) -> Attempt:
        try:
            return self._sink.deliver(batch)
        except TerraceError as error:
            return again(error.message)
        except Exception as error:  # noqa: BLE001 - a defect of one output costs the others nothing, and is told
            return again(f"{type(error).__name__}: {error}")

    def _note(self, attempt: Attempt) -> None:
        with self._changed:
            is_new, self._failing = not self._failing, attempt.reason
            self._failures += 1
        if is_new:
            log.get("outputs").error(FAILING, output=self.name, target=self._sink.target, reason=attempt.reason)

    def _rest(self, seconds: float) -> bool:
        """Wait before the next attempt; returns whether there is to be one."""
        with self._changed:
            if not self._is_stopping():
                self._changed.wait_for(self._is_stopping, seconds)
                return True
            self._changed.wait(min(seconds, 0.2))
            return clock.monotonic() < self._until

    def _settle(self, lost: str) -> None:
        with self._changed:
            count, self._in_hand = self._in_hand, 0
            self._backlog.lose(lost, count if lost else 0)
            self._delivered += 0 if lost else count
            was_failing = self._failing and not lost
            self._failing = "" if was_failing else self._failing
        if was_failing:
            log.get("outputs").info(DELIVERING, output=self.name, target=self._sink.target)

    def _is_stopping(self) -> bool:
        return self._until != float("inf")
