"""The replay window: which counters of a sender have been seen. Pure; the owner stores it with the effect it guards.

The window is 1,024 counters wide and ends at the highest counter seen. What is behind it counts as seen. The owner adds a
counter only after the message opened, and commits the window in the same transaction as the message's effect.

Example:
    >>> window = ReplayWindow()
    >>> window.is_new(5), window.add(5), window.is_new(5)
    (True, None, False)
"""

from __future__ import annotations

import struct

from shared.errors import ProtocolError

WIDTH = 1024
_MASK = (1 << WIDTH) - 1
_BITMAP_BYTES = WIDTH // 8
_HIGHEST = struct.Struct(">Q")


class ReplayWindow:
    """Counters seen from one sender in one epoch.

    Bit i of the bitmap stands for counter `highest - i`.
    """

    def __init__(self) -> None:
        self._highest = -1
        self._bitmap = 0

    @property
    def highest(self) -> int:
        """The highest counter seen; -1 before the first."""
        return self._highest

    def is_new(self, counter: int) -> bool:
        """Whether this counter has not been seen and is not behind the window."""
        behind = self._highest - counter
        return behind < 0 or (behind < WIDTH and not self._bitmap >> behind & 1)

    def add(self, counter: int) -> None:
        """Mark a counter as seen."""
        ahead = counter - self._highest
        if ahead > 0:
            self._bitmap = ((self._bitmap << ahead) | 1) & _MASK if ahead < WIDTH else 1
            self._highest = counter
        elif -ahead < WIDTH:
            self._bitmap |= 1 << -ahead

    def to_bytes(self) -> bytes:
        """Return the window as 136 bytes."""
        return _HIGHEST.pack(self._highest + 1) + self._bitmap.to_bytes(_BITMAP_BYTES, "big")

    @classmethod
    def from_bytes(cls, data: bytes) -> ReplayWindow:
        """Read what `to_bytes` wrote.

        Raises:
            ProtocolError: another length.
        """
        if len(data) != _HIGHEST.size + _BITMAP_BYTES:
            raise ProtocolError(f"a replay window of {len(data)} bytes is not one.")
        window = cls()
        window._highest = _HIGHEST.unpack_from(data)[0] - 1
        window._bitmap = int.from_bytes(data[_HIGHEST.size :], "big")
        return window
