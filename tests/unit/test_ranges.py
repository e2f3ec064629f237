"""The headers of partial transfers, read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ProtocolError
from shared.link.ranges import Piece, Taken, content_range, download_begins, parse_content_range, parse_offset, parse_range, upload_goes_on


@given(st.integers(0, 10**12), st.integers(1, 10**9), st.integers(0, 10**9))
def test_every_piece_survives_its_header(start: int, length: int, rest: int) -> None:
    piece = Piece(start=start, stop=start + length, size=start + length + rest)
    assert parse_content_range(content_range(piece)) == piece


def test_the_empty_file_has_a_header_too() -> None:
    empty = Piece(start=0, stop=0, size=0)
    assert content_range(empty) == "bytes */0"
    assert parse_content_range("bytes */0") == empty


@pytest.mark.parametrize(
    "header", ["", "bytes", "bytes 5-4/10", "bytes 0-10/10", "bytes -1-4/10", "bytes 0-4/*", "items 0-4/10", "bytes 0-4/1e3"]
)
def test_a_content_range_that_makes_no_sense_is_refused(header: str) -> None:
    with pytest.raises(ProtocolError):
        parse_content_range(header)


def test_what_a_client_may_ask_for() -> None:
    assert parse_range("bytes=0-", 10) == Piece(start=0, stop=10, size=10)
    assert parse_range("bytes=4-5", 10) == Piece(start=4, stop=6, size=10)
    assert parse_range("bytes=4-500", 10) == Piece(start=4, stop=10, size=10)
    for whole in (None, "", "bytes=-5", "bytes=0-1,4-5", "lines=1-2"):
        assert parse_range(whole, 10) is None
    for outside in ("bytes=10-", "bytes=5-4", "bytes=99-"):
        with pytest.raises(ProtocolError):
            parse_range(outside, 10)


def test_an_offset_is_a_number_of_bytes_of_the_file() -> None:
    assert parse_offset(None, 20) == 0
    assert parse_offset("17", 20) == 17
    assert parse_offset("20", 20) == 20
    for wrong in ("", "-1", "1.5", "x", "1" * 16, "21"):
        with pytest.raises(ProtocolError):
            parse_offset(wrong, 20)


@pytest.mark.parametrize(("status", "header", "held", "begins"), [
    (200, None, 0, 0),
    (200, None, 5, 0),  # the server does not resume
    (206, "bytes 5-9/10", 5, 5),
    (206, "bytes 4-9/10", 5, -1),
    (206, "bytes 5-10/11", 5, -1),
    (416, None, 5, -1),
    (206, "bytes 0-9/10", 0, -1),  # nobody asked for a part
    (404, None, 0, None),
    (500, None, 5, None),
])  # fmt: skip
def test_where_a_download_begins(status: int, header: str | None, held: int, begins: int | None) -> None:
    assert download_begins(status, header, held=held, size=10) == begins


@pytest.mark.parametrize(("status", "offset", "goes_on"), [
    (201, None, None), (204, "4", None), (202, "8", 8), (409, "2", 2), (409, None, 4), (413, None, 4), (500, "9", 4), (202, None, 4),
    (202, "4", 4),
])  # fmt: skip
def test_where_an_upload_goes_on(status: int, offset: str | None, goes_on: int | None) -> None:
    assert upload_goes_on(Taken(status=status, offset=offset, text=""), Piece(start=4, stop=8, size=10)) == goes_on
