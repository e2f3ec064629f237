"""Cutting a coded payload into chunks and putting it together again, within bounds. Pure.

Chunks keep bulk short enough that a control message never waits long behind it. Every chunk is sealed on its own, so a
reassembly sees authentic chunks only; its bounds hold a faulty device to its share of memory, and its oldest incomplete
payload gives way to a newer one (the device sends again what has no receipt).

Example:
    >>> together = Reassembly()
    >>> [together.add("case 1", i, 2, 0, part) for i, part in enumerate(split(b"x" * 20_000))][-1] == b"x" * 20_000
    True
"""

from __future__ import annotations

from collections.abc import Hashable

from shared.errors import ProtocolError
from shared.wire.messages import LARGEST_MESSAGE_BYTES

CHUNK_BYTES = 16 << 10
MOST_CHUNKS = -(-LARGEST_MESSAGE_BYTES // CHUNK_BYTES)


def split(payload: bytes, size: int = CHUNK_BYTES) -> list[bytes]:
    """Cut a payload into chunks of at most `size` bytes; an empty payload is one empty chunk.

    Raises:
        ProtocolError: the payload is longer than a message may be.
    """
    if len(payload) > LARGEST_MESSAGE_BYTES:
        raise ProtocolError(f"a payload of {len(payload)} bytes is longer than {LARGEST_MESSAGE_BYTES}.")
    return [payload[start : start + size] for start in range(0, len(payload), size)] or [b""]


class _Partial:
    """The chunks of one payload that have come so far."""

    def __init__(self, count: int, codec: int) -> None:
        self.count = count
        self.codec = codec
        self.parts: dict[int, bytes] = {}
        self.size = 0


class Reassembly:
    """Incomplete payloads of one device.

    Args:
        most: incomplete payloads kept at once.
        limit_bytes: bytes kept at once, over all of them.
    """

    def __init__(self, *, most: int = 8, limit_bytes: int = 16 << 20) -> None:
        self._most = most
        self._limit = limit_bytes
        self._partials: dict[Hashable, _Partial] = {}
        self._size = 0
        self.given_up = 0

    @property
    def size_bytes(self) -> int:
        """Bytes held now."""
        return self._size

    def __len__(self) -> int:
        return len(self._partials)

    def add(self, key: Hashable, index: int, count: int, codec: int, chunk: bytes) -> bytes | None:
        """Add one chunk; return the coded payload when it is whole.

        A payload that comes again with another count or codec starts afresh.

        Raises:
            ProtocolError: the payload would be longer than a message may be.
        """
        if not 0 < count <= MOST_CHUNKS or not 0 <= index < count:
            raise ProtocolError(f"chunk {index} of {count} is outside what a message may have.")
        if len(chunk) > CHUNK_BYTES:
            raise ProtocolError(f"a chunk of {len(chunk)} bytes is longer than {CHUNK_BYTES}.")
        if count == 1:
            self.drop(key)
            return chunk
        partial = self._partial(key, count, codec)
        added = len(chunk) - len(partial.parts.get(index, b""))
        partial.parts[index] = chunk
        partial.size += added
        self._size += added
        if len(partial.parts) == count:
            self.drop(key)
            return b"".join(partial.parts[number] for number in range(count))
        self._make_room(key)
        return None

    def drop(self, key: Hashable) -> None:
        """Forget what has come of one payload."""
        partial = self._partials.pop(key, None)
        self._size -= partial.size if partial else 0

    def _partial(self, key: Hashable, count: int, codec: int) -> _Partial:
        partial = self._partials.get(key)
        if partial is None or (partial.count, partial.codec) != (count, codec):
            self.drop(key)
            partial = self._partials[key] = _Partial(count, codec)
        return partial

    def _make_room(self, newest: Hashable) -> None:
        while len(self._partials) > self._most or self._size > self._limit:
            oldest = next(key for key in self._partials if key != newest or len(self._partials) == 1)
            self.drop(oldest)
            self.given_up += 1
