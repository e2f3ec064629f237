"""What left this region: search every recorded body sent to the cloud, as it was before TLS, for any picture of the vault.

A picture is found when a body holds any of a few slices of its encoded bytes, of the case that carries it, or of its decoded
pixels' rows. Bodies that are zstd frames are searched unpacked as well. The record is a folder of files
(`[cloud] egress_record`), one per request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
import zstandard

from region.vault import Vault
from shared.errors import TerraceError
from shared.vision.picture import decode

PARTS: tuple[Literal["train", "evaluation", "unused"], ...] = ("train", "evaluation", "unused")
SLICE_BYTES = 24
SLICES = 4
LARGEST_BODY_BYTES = 256 << 20
LARGEST_PIXELS = 1 << 24
_ZSTD = b"\x28\xb5\x2f\xfd"


class Egress(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome: how many pictures were looked for in how many bodies, and how many were found."""

    pictures: int
    pictures_found: int
    bodies: int
    body_bytes: int


def search(vault: Vault, record: Path) -> Egress:
    """Look for every picture of the vault in everything that was sent.

    Args:
        vault: an open vault; read only is enough.
        record: the folder of recorded bodies.
    """
    bodies = list(recorded(record))
    pictures = found = 0
    for part in PARTS:
        for stored in vault.cases(split=part, answered=False):
            pictures += 1
            picture = stored.case.picture
            marks = [*marks_of(picture.data), *_pixel_marks(stored.case.picture)]
            found += any(mark in body for body in bodies for mark in marks)
    return Egress(pictures=pictures, pictures_found=found, bodies=len(bodies), body_bytes=sum(map(len, bodies)))


def recorded(record: Path) -> Iterator[bytes]:
    """Yield every recorded body, and what a zstd frame among them holds."""
    for path in sorted(record.rglob("*")) if record.is_dir() else []:
        if path.is_file():
            body = path.read_bytes()
            yield body
            if body.startswith(_ZSTD):
                yield from _unpacked(body)


def marks_of(data: bytes) -> list[bytes]:
    """Return a few slices of `data`, evenly spread and past its first bytes, which all pictures of a codec share."""
    start = min(64, len(data) // 4)
    step = max(1, (len(data) - start - SLICE_BYTES) // SLICES)
    slices: Iterable[bytes] = (data[start + step * index :][:SLICE_BYTES] for index in range(SLICES))
    return [mark for mark in slices if len(mark) == SLICE_BYTES]


def _pixel_marks(picture: object) -> list[bytes]:
    try:
        pixels = decode(picture, max_pixels=LARGEST_PIXELS)  # type: ignore[arg-type]
    except TerraceError:
        return []
    rows = (pixels[len(pixels) * part // 3].tobytes() for part in (1, 2))
    return [row[:SLICE_BYTES] for row in rows if len(set(row[:SLICE_BYTES])) > SLICE_BYTES // 2]


def _unpacked(body: bytes) -> Iterator[bytes]:
    try:
        yield zstandard.ZstdDecompressor().decompress(body, max_output_size=LARGEST_BODY_BYTES)
    except zstandard.ZstdError:
        return
