"""zstd as the codecs use it: strong, deterministic for one version, and never unpacked beyond the length that is expected. Pure."""

from __future__ import annotations

import zstandard

from shared.errors import ProtocolError

LEVEL = 19
QUICK = 3
"""The level that estimates what LEVEL would reach."""
LARGEST_WINDOW_LOG = 27
"""zstd's limit for level 19 frames: 128 MB of history, more than any model here."""
SHORTEST_DICTIONARY = 8
"""zstd ignores a shorter one."""


def compress(data: bytes, *, dictionary: bytes = b"", level: int = LEVEL) -> bytes:
    """Return `data` compressed, with `dictionary` as its past."""
    history = len(dictionary) if len(dictionary) >= SHORTEST_DICTIONARY else 0
    window = min(max((len(data) + history).bit_length(), 10), LARGEST_WINDOW_LOG)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, source_size=len(data), dict_size=history, window_log=window, write_content_size=True, enable_ldm=history > 0
    )
    past = _dictionary(dictionary) if history else None
    return zstandard.ZstdCompressor(compression_params=parameters, dict_data=past).compress(data)


def decompress(frame: bytes, length: int, *, dictionary: bytes = b"") -> bytes:
    """Return what `compress` was given.

    Args:
        frame: the compressed bytes.
        length: how many bytes it must make.
        dictionary: as given to `compress`.

    Raises:
        ProtocolError: it is damaged, or makes another number of bytes.
    """
    past = _dictionary(dictionary) if len(dictionary) >= SHORTEST_DICTIONARY else None
    decompressor = zstandard.ZstdDecompressor(dict_data=past, max_window_size=1 << LARGEST_WINDOW_LOG)
    try:
        # the frame's own claim is what zstd allocates, so it is compared before anything is unpacked
        if zstandard.frame_content_size(frame) != length:
            raise ProtocolError("the delta's frame has another size than its header says.")
        return decompressor.decompress(frame, max_output_size=length, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ProtocolError(f"the delta cannot be unpacked: {error}.") from None


def claim(frame: bytes, most: int) -> int:
    """Return how many bytes a frame says it makes.

    Raises:
        ProtocolError: it does not say, or says more than `most`.
    """
    try:
        size = zstandard.frame_content_size(frame)
    except zstandard.ZstdError as error:
        raise ProtocolError(f"the delta cannot be unpacked: {error}.") from None
    if not 0 <= size <= most:
        raise ProtocolError("a part of the delta claims more than any can have.")
    return size


def _dictionary(data: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(data, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
