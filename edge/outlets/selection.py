"""Which events an output is sent. Pure.

Example:
    >>> Selection(states=("final",), labels=("scratch",)).wants(state="final", label="scratch", stream="line-1")
    True
"""

from __future__ import annotations

import msgspec


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Empty means all: of states (`provisional`, `final`), of labels, of streams."""

    states: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()

    def wants(self, *, state: str, label: str, stream: str) -> bool:
        """Whether an event of this state, label and stream is sent."""
        pairs = ((self.states, state), (self.labels, label), (self.streams, stream))
        return all(not wanted or value in wanted for wanted, value in pairs)
