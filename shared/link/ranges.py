"""Pieces of files over HTTP: the headers of partial downloads and resumable uploads, read and written in one place for both sides.

    download   Range: bytes=100-            →  206, Content-Range: bytes 100-299/300
    upload     HEAD                         →  200 (whole) or 404, Upload-Offset: 100 (bytes the server holds; 0 when absent)
               PUT, Content-Range: bytes 100-199/300
                                            →  201 (now whole), 202 with Upload-Offset: 200 (go on there),
                                               or 409 with Upload-Offset: n (not there but here)
               an empty file is PUT with Content-Range: bytes */0

Positions are bytes; `stop` is exclusive here and inclusive in the headers, as HTTP wants it.

Example:
    >>> parse_content_range("bytes 100-199/300")
    Piece(start=100, stop=200, size=300)
"""

from __future__ import annotations

import re

import msgspec

from shared.errors import ProtocolError

UPLOAD_OFFSET = "upload-offset"
"""Header (lower case) that names how many bytes of a file the server holds."""

_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,15})-(\d{1,15})|\*)/(\d{1,15})")
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes `start` to `stop` (exclusive) of a file of `size` bytes."""

    start: int
    stop: int
    size: int


def content_range(piece: Piece) -> str:
    """Return a piece as the header Content-Range."""
    if piece.start == piece.stop:
        return f"bytes */{piece.size}"
    return f"bytes {piece.start}-{piece.stop - 1}/{piece.size}"


def parse_content_range(header: str) -> Piece:
    """Return the piece a Content-Range header names; `bytes */n` is the empty piece at n.

    Raises:
        ProtocolError: it names none, or one outside the file.
    """
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None:
        raise ProtocolError(f"{header[:80]!r} is no Content-Range.")
    size = int(match[3])
    if match[1] is None:
        return Piece(start=size, stop=size, size=size)
    piece = Piece(start=int(match[1]), stop=int(match[2]) + 1, size=size)
    if not piece.start < piece.stop <= size:
        raise ProtocolError(f"the Content-Range {header[:80]!r} lies outside its file.")
    return piece


def parse_range(header: str | None, size: int) -> Piece | None:
    """Return the piece a client asks for with a Range header, or none for the whole file.

    Only one range from the front is understood; any other form is answered with the whole file, as HTTP allows.

    Raises:
        ProtocolError: the range begins behind the file's end; answer with status 416.
    """
    match = _RANGE.fullmatch((header or "").strip())
    if match is None:
        return None
    start, stop = int(match[1]), int(match[2]) + 1 if match[2] else size
    if start >= size or stop <= start:
        raise ProtocolError(f"the range {header!r} lies outside a file of {size} bytes.")
    return Piece(start=start, stop=min(stop, size), size=size)


def parse_offset(header: str | None, size: int) -> int:
    """Return the value of an Upload-Offset header; 0 where there is none.

    Raises:
        ProtocolError: it is no number of bytes, or more than the file has.
    """
    if header is None:
        return 0
    if re.fullmatch(r"\d{1,15}", header) is None or int(header) > size:
        raise ProtocolError(f"{header[:80]!r} is no Upload-Offset in a file of {size} bytes.")
    return int(header)


def download_begins(status: int, header: str | None, *, held: int, size: int) -> int | None:
    """Return where in the file the body of an answer to a download begins.

    Args:
        status: of the answer.
        header: its Content-Range.
        held: bytes we have, behind which we asked to go on.
        size: bytes the file should have.

    Returns:
        `held` or 0; -1 when the server has a file of another size there; none when it does not give us the file.

    Raises:
        ProtocolError: the header makes no sense.
    """
    if status == 200:
        return 0
    if status == 206 and held:
        piece = parse_content_range(header or "")
        if piece.start == held and piece.size == size:
            return held
    return -1 if status in {206, 416} else None


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What a server said to a piece of an upload.

    Attributes:
        status: of the answer.
        offset: its Upload-Offset header.
        text: the beginning of its body.
    """

    status: int
    offset: str | None
    text: str


def upload_goes_on(answer: Taken, piece: Piece) -> int | None:
    """Return where an upload goes on after a piece.

    Returns:
        The server's position; none when it has the whole file; the piece's own start when it did not take the piece.

    Raises:
        ProtocolError: the position is no number, or outside the file.
    """
    if answer.status in {200, 201, 204}:
        return None
    if answer.status in {202, 409} and answer.offset is not None:
        return parse_offset(answer.offset, piece.size)
    return piece.start
