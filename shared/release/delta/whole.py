"""The codecs of version 1, which know nothing of what is in the files; the fallback of the one that does. Pure.

subtract  equal lengths only: bytes of new minus old, modulo 256, under zstd level 19
prefix    zstd level 19 with the old file as its dictionary (what moved or was inserted)
full      zstd level 19 alone: never larger than the file by more than a few bytes
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from shared.errors import ProtocolError
from shared.release.delta.container import FULL, PREFIX, SUBTRACT
from shared.release.delta.frames import compress, decompress


def packings(old: bytes, new: bytes) -> dict[int, Callable[[int], bytes]]:
    """Return the codecs that apply to two files: codec -> from a zstd level to its payload."""
    found: dict[int, Callable[[int], bytes]] = {
        PREFIX: lambda level: compress(new, dictionary=old, level=level),
        FULL: lambda level: compress(new, level=level),
    }
    if len(old) == len(new):
        found[SUBTRACT] = lambda level: compress(_moved(new, old), level=level)
    return found


def unpack(codec: int, old: bytes, payload: bytes, length: int) -> bytes:
    """Return the new file of a payload.

    Raises:
        ProtocolError: the payload does not fit the codec, or makes another number of bytes.
    """
    if codec != SUBTRACT:
        return decompress(payload, length, dictionary=old if codec == PREFIX else b"")
    if len(old) != length:
        raise ProtocolError("a subtracting delta must keep the length of the file.")
    moved = decompress(payload, length)
    return np.add(np.frombuffer(old, np.uint8), np.frombuffer(moved, np.uint8)).tobytes()


def _moved(left: bytes, right: bytes) -> bytes:
    return np.subtract(np.frombuffer(left, np.uint8), np.frombuffer(right, np.uint8)).tobytes()
