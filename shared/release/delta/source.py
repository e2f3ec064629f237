"""What a delta is read from and written to, so that neither file has to lie in memory: bytes at a place, and a sink. Pure.

A file on disk becomes a Source by any object with `length` and `read`; bytes in memory by `Memory`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Sink = Callable[[bytes], object]
"""Takes the result piece by piece, in order."""


class Source(Protocol):
    """A file whose bytes can be asked for anywhere."""

    @property
    def length(self) -> int:
        """Bytes in all."""

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer only at the end."""


class Memory:
    """Bytes in memory as a Source."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)

    @property
    def length(self) -> int:
        """Bytes in all."""
        return len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        """Return a copy of `length` bytes from `offset`."""
        return bytes(self._data[offset : offset + length])


class Window:
    """Reads small pieces of a source through one larger one.

    Args:
        source: where from.
        size: bytes read at once.
    """

    def __init__(self, source: Source, *, size: int = 1 << 16) -> None:
        self.length = source.length
        self._source = source
        self._size = size
        self._at = 0
        self._held = b""

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer only at the end."""
        if offset < self._at or offset + length > self._at + len(self._held):
            self._at, self._held = offset, self._source.read(offset, max(length, self._size))
        return self._held[offset - self._at : offset - self._at + length]
