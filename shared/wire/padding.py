"""Size classes: what is sealed is filled up so that its length says little of what it is. Pure.

Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", 2019): a length of L bytes grows
by at most 12 % and tells about log log L bits of itself. Below 256 bytes everything has one size.

Rules, in order:
1. The whole payload's length is what is classed. Only the last chunk is filled: chunks of 16 KB end where classes do, so that filling
   never needs another chunk.
2. The filling is one byte 0x80 and zeros, under the encryption; a flag in the header's codec byte says that it is there.

Example:
    >>> padme(300), padme(30_000), len(fill(b"abc", before=0))
    (304, 30720, 257)
    >>> strip(fill(b"abc", before=0))
    b'abc'
"""

from __future__ import annotations

from shared.errors import ProtocolError

FLAG = 0x80
"""In the header's codec byte: this chunk was filled up."""
SMALLEST_BYTES = 256
_END = b"\x80"


def padme(size: int) -> int:
    """Return the size class of a length in bytes: the smallest class that is not below it (Padmé, algorithm 1)."""
    if size <= SMALLEST_BYTES:
        return SMALLEST_BYTES
    exponent = size.bit_length() - 1
    free_bits = exponent - exponent.bit_length()
    mask = (1 << free_bits) - 1
    return (size + mask) & ~mask


def fill(chunk: bytes, *, before: int) -> bytes:
    """Return the last chunk of a payload, filled up to the payload's size class and the end mark.

    Args:
        chunk: the last chunk.
        before: bytes of the chunks before it.
    """
    return chunk + _END + bytes(padme(before + len(chunk)) - before - len(chunk))


def strip(chunk: bytes) -> bytes:
    """Return what `fill` was given.

    Raises:
        ProtocolError: the end mark is missing.
    """
    bare = chunk.rstrip(b"\x00")
    if not bare.endswith(_END):
        raise ProtocolError("a filled chunk does not say where it ends.")
    return bare[:-1]
