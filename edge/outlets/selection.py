"""Which events an output is sent. Pure.

A label selects an event that names it anywhere: as the frame's class, as one of a detector's objects, or as one of a segmenter's areas.

Example:
    >>> Selection(states=("final",), labels=("scratch",)).wants(state="final", labels=("dent", "scratch"), stream="line-1")
    True
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Empty means all: of states (`provisional`, `final`), of labels, of streams."""

    states: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()

    def wants(self, *, state: str, labels: Sequence[str], stream: str) -> bool:
        """Whether an event of this state and stream that names these labels is sent."""
        pairs = ((self.states, (state,)), (self.labels, labels), (self.streams, (stream,)))
        return all(not wanted or not set(wanted).isdisjoint(values) for wanted, values in pairs)
