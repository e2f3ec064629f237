"""Which codec a message's payload travels under, and bounded decompression. Pure.

Rules, in order:
1. Cases are pictures that are already compressed (WebP, JPEG, PNG): never compressed again.
2. Other payloads are compressed with zstd when that saves at least 5 %; short ones travel as they are.
3. A decoder believes no length before checking it: a zstd frame must state its size, the size must be within the caller's
   limit, and nothing may follow the frame.

Example:
    >>> codec, coded = compress(Kind.TELEMETRY, b"a" * 1000)
    >>> codec, decompress(codec, coded, limit=1000) == b"a" * 1000
    (1, True)
"""

from __future__ import annotations

import zstandard

from shared.errors import ProtocolError
from shared.wire.messages import LARGEST_MESSAGE_BYTES, Kind

NONE, ZSTD = 0, 1
LEVEL = 3
SHORTEST_BYTES = 64
"""Payloads below this are not worth a zstd frame."""
WORTH_IT = 0.95


def compress(kind: Kind, payload: bytes) -> tuple[int, bytes]:
    """Return the codec and the coded payload."""
    if kind is Kind.CASE or len(payload) < SHORTEST_BYTES:
        return NONE, payload
    coded = zstandard.ZstdCompressor(level=LEVEL).compress(payload)
    return (ZSTD, coded) if len(coded) <= WORTH_IT * len(payload) else (NONE, payload)


def decompress(codec: int, data: bytes, limit: int = LARGEST_MESSAGE_BYTES) -> bytes:
    """Return the payload of at most `limit` bytes.

    Raises:
        ProtocolError: unknown codec, damaged, longer than the limit, or not saying how long.
    """
    if codec == NONE:
        if len(data) > limit:
            raise ProtocolError(f"a payload of {len(data)} bytes is longer than {limit}.")
        return data
    if codec != ZSTD:
        raise ProtocolError(f"codec {codec} is unknown.")
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= limit:
            raise ProtocolError(f"a zstd frame of stated size {size} is outside 0 to {limit} bytes.")
        payload = zstandard.ZstdDecompressor().decompress(data, max_output_size=limit, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ProtocolError(f"not a zstd frame: {error}.") from None
    if len(payload) != size:
        raise ProtocolError("a zstd frame does not hold what it states.")
    return payload
