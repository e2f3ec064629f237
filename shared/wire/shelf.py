"""The dictionaries at hand, newest first. Pure; `link.dictionaries` keeps them in a folder."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from shared.wire.dictionary import Dictionary
from shared.wire.messages import Kind

MOST_KEPT = 8
"""Dictionaries kept; messages under older ones cannot be read any more, and nobody compresses with them by then."""


class Shelf:
    """Dictionaries by name and by zstd's id. Threads may read while one puts."""

    def __init__(self, dictionaries: Iterable[Dictionary] = ()) -> None:
        self._held: dict[bytes, Dictionary] = {}
        self.replace(dictionaries)

    @property
    def digests(self) -> tuple[bytes, ...]:
        """The names, newest first."""
        return tuple(self._held)

    def replace(self, dictionaries: Iterable[Dictionary]) -> None:
        """Hold these instead, the first as the newest."""
        self._held = dict([(one.digest, one) for one in dictionaries][:MOST_KEPT])

    def put(self, dictionary: Dictionary) -> None:
        """Hold one more, as the newest."""
        self.replace([dictionary, *(one for name, one in self._held.items() if name != dictionary.digest)])

    def named(self, digest: bytes) -> Dictionary | None:
        """Return a dictionary by the SHA-256 of its file."""
        return self._held.get(digest)

    def find(self, number: int) -> Dictionary | None:
        """Return a dictionary by zstd's id."""
        return next((one for one in self._held.values() if one.id == number), None)

    def best(self, kind: Kind, reads: Collection[bytes]) -> Dictionary | None:
        """Return the newest for a kind that the other side reads, None where there is none."""
        return next((one for name, one in self._held.items() if name in reads and kind in one.kinds), None)
