r"""What a user's own stream came to: its event file and a recount of the cases in, lines out. Pure.

Rules:
1. A frame's first event has the device's own word, its final event what the system says of it.
2. The expert said otherwise where the final word is the region's and names other things: another label or, for detectors, another
   number of any label.

Example:
    >>> seen = watched(b'{"stream":"camera","sequence":0,"state":"final","label":"cup","action":"keep"}\n')
    >>> seen.frames, seen.kept
    (1, 1)
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from provisioning.testbed.ledger import quantile


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    """An object of an event."""

    label: str


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a device's event file; only what is counted here."""

    stream: str
    sequence: int
    state: str
    label: str
    action: str
    source: str = "edge"
    latency_ms: float = 0.0
    objects: tuple[Thing, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What it names, in alphabetical order."""
        return (self.label,) if self.objects is None else tuple(sorted(thing.label for thing in self.objects))


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """Frames by what was done with them, and what the expert said otherwise; its answers' median counts from the frame's arrival."""

    frames: int = 0
    kept: int = 0
    deferred: int = 0
    audited: int = 0
    answered: int = 0
    otherwise: int = 0
    expired: int = 0
    latency_ms: float = 0.0

    def lines(self) -> list[str]:
        """Say it."""
        total = max(1, self.frames)
        kept, deferred, audited = (f"{100 * count / total:.1f} %" for count in (self.kept, self.deferred, self.audited))
        lines = [
            f"{self.frames:,} frames answered: {kept} stayed on the device, {deferred} hard cases and {audited} audit samples were sent"
        ]
        if self.answered:
            said = f"the region's expert answered {self.answered:,} in time (median {self.latency_ms:.0f} ms)"
            lines.append(f"{said} and said otherwise on {self.otherwise:,}")
        if self.expired:
            lines.append(f"{self.expired:,} hard cases had no answer within the deadline: the device's own word stood")
        return lines


def watched(events: bytes) -> Watched:
    """Count an event file; lines that are no events (a torn end) are left out."""
    first: dict[tuple[str, int], Event] = {}
    last: dict[tuple[str, int], Event] = {}
    for event in _events(events):
        key = event.stream, event.sequence
        first.setdefault(key, event)
        if event.state == "final":
            last[key] = event
    actions = [event.action for event in first.values()]
    told = [(first[key], event) for key, event in last.items() if event.source == "region"]
    return Watched(
        frames=len(first),
        kept=actions.count("keep"),
        deferred=actions.count("defer"),
        audited=actions.count("audit"),
        answered=len(told),
        otherwise=sum(own.names != said.names for own, said in told),
        expired=sum(event.source == "expired" for event in last.values()),
        latency_ms=quantile([event.latency_ms for _, event in told], 0.5),
    )


def _events(data: bytes) -> Iterator[Event]:
    decoder = msgspec.json.Decoder(Event)
    for line in data.splitlines():
        try:
            yield decoder.decode(line)
        except msgspec.MsgspecError:
            continue
