"""The delta codec: an old and a new model in, a small container out; and back, byte for byte. Pure: no files, no clock, no floats.

What a delta may contain is bounded by what signed metadata says of its result, never by its own header. ONNX models are taken apart into
skeleton and tensors, and each tensor's change is coded in the light of the old one (see residual); whatever else, and whatever is smaller
that way, goes under zstd (see whole). The parts, from bytes to numbers:

    making, applying the two directions
    container        header, checksums, blocks           frames    zstd
    layout           skeleton and payloads of a file     plan      which tensor how, pieces and blocks
    tensors          one block                           predict   what a tensor is expected to be
    numbers          bytes as ordered integers           residual  coding what was not expected
    evidence         what is known so far says           shapes    what is believed before
    tables, rans     adaptive probabilities, entropy coder

Example:
    >>> old, new = b"weights" * 99, b"weights" * 98 + b"Weights"
    >>> apply(old, make(old, new), expect_sha256=digest(new).hex(), limit_bytes=10_000) == new
    True
"""

from shared.release.delta.applying import apply, apply_to, read_header, rebuild
from shared.release.delta.container import FULL, NAMES, PREFIX, SUBTRACT, TENSORS, Header
from shared.release.delta.making import digest, make
from shared.release.delta.source import Memory, Sink, Source

__all__ = [
    "FULL",
    "NAMES",
    "PREFIX",
    "SUBTRACT",
    "TENSORS",
    "Header",
    "Memory",
    "Sink",
    "Source",
    "apply",
    "apply_to",
    "digest",
    "make",
    "read_header",
    "rebuild",
]
