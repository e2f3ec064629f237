"""Files over HTTPS: downloads and uploads that go on where they broke off, and believe nothing before the hash is right.

A download writes `<destination>.part`, asks for what is missing (Range), and renames when size and SHA-256 are right; a part left by
an earlier process is used. When a resumed file turns out wrong the part was from something else: it starts once more from nothing.
Every 64 KB piece must arrive at the minimum rate, and the whole file within a deadline that follows from it: a slow source is given
up for the next one, with the part kept. Uploads ask how much the server holds and send pieces of 1 MB (headers: ranges.py).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from shared.clock import monotonic
from shared.errors import InputError, LinkError, StorageError, TrustError
from shared.link import ranges
from shared.link.exchange import Exchanges

PIECE_BYTES = 64 * 1024
UPLOAD_BYTES = 1024 * 1024
Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""
Record = Callable[[str, str, bytes], None]
"""Called with method, path and body."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How slow a transfer may be.

    Attributes:
        patience_s: seconds any single step may take beyond what the minimum rate gives it.
        minimum_rate: bytes per second.
    """

    patience_s: float = 15.0
    minimum_rate: float = 16 * 1024

    def allowed_s(self, size: int) -> float:
        """Return how many seconds `size` bytes may take."""
        return self.patience_s + size / self.minimum_rate


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """What every step of a transfer needs.

    Attributes:
        exchanges: the server.
        record: called with method, path and body of every request before it is sent.
        pace: how slow it may be.
        progress: called after every piece.
    """

    exchanges: Exchanges
    record: Record
    pace: Pace = Pace()
    progress: Progress | None = None

    def tell(self, done: int, size: int) -> None:
        """Report progress to whoever wants to know."""
        if self.progress is not None:
            self.progress(done, size)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A file to download: where it is and what it must be.

    Attributes:
        path: on the server.
        size: bytes.
        sha256: hexadecimal.
    """

    path: str
    size: int
    sha256: str


class _Part:
    """The file on its way: bytes so far and their running hash."""

    def __init__(self, destination: Path) -> None:
        self._destination = destination
        self._path = destination.with_name(f"{destination.name}.part")
        self.held = 0
        self._hash = hashlib.sha256()

    def resume(self, size: int) -> None:
        """Take over what an earlier attempt left; a part that is too long is of no use."""
        try:
            self._destination.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and self._path.stat().st_size <= size:
                with self._path.open("rb") as file:
                    while piece := file.read(1 << 20):
                        self._hash.update(piece)
                        self.held += len(piece)
            else:
                self.restart()
        except OSError as error:
            raise StorageError(f"{self._path} cannot be used: {error}.", "Free space, or correct its folder's permissions.") from error

    def restart(self) -> None:
        """Forget everything."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{self._path} cannot be removed: {error}.", "Correct its folder's permissions.") from error
        self.held, self._hash = 0, hashlib.sha256()

    def add(self, piece: bytes) -> None:
        """Append bytes."""
        try:
            with self._path.open("ab") as file:
                file.write(piece)
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {error}.", "Free space on its disk.") from error
        self._hash.update(piece)
        self.held += len(piece)

    def is_right(self, sha256: str) -> bool:
        """Return whether the bytes so far have this hash."""
        return self._hash.hexdigest() == sha256.lower()

    def finish(self) -> None:
        """Make the part durable and give it its name."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._path.replace(self._destination)
        except OSError as error:
            raise StorageError(f"{self._destination} cannot be written: {error}.", "Free space on its disk.") from error


def download(lane: Lane, wanted: Wanted, destination: Path) -> None:
    """Fetch a file, or the rest of it.

    Raises:
        LinkError: the server cannot be reached, is too slow or has no such file; what has arrived is kept.
        TrustError: what arrived is not what was wanted; nothing is kept.
        StorageError: the disk is full or read-only.
    """
    part = _Part(destination)
    part.resume(wanted.size)
    resumed = part.held > 0
    _fill(lane, wanted, part)
    if resumed and not part.is_right(wanted.sha256):
        part.restart()
        _fill(lane, wanted, part)
    if not part.is_right(wanted.sha256):
        part.restart()
        raise TrustError(f"{wanted.path} from {lane.exchanges.base_url} does not have the announced hash.", "Try another source.")
    part.finish()


def _fill(lane: Lane, wanted: Wanted, part: _Part) -> None:
    """Fetch until the part is full; a connection that breaks off is followed by another as long as each brings something."""
    deadline = monotonic() + lane.pace.allowed_s(wanted.size - part.held)
    while part.held < wanted.size:
        before = part.held
        try:
            _fetch(lane, wanted, part, deadline)
        except LinkError:
            if part.held == before or monotonic() >= deadline:
                raise


def _fetch(lane: Lane, wanted: Wanted, part: _Part, deadline: float) -> None:
    url, headers = lane.exchanges.base_url, {"Accept-Encoding": "identity"}
    if part.held:
        headers["Range"] = f"bytes={part.held}-"
    lane.record("GET", wanted.path, b"")
    first = min(deadline, monotonic() + lane.pace.patience_s)
    with lane.exchanges.exchange("GET", wanted.path, body=b"", headers=headers, deadline=first) as (connection, response):
        begins = ranges.download_begins(response.status, response.getheader("Content-Range"), held=part.held, size=wanted.size)
        if begins is None:
            raise LinkError(f"{url} answered {response.status} to {wanted.path}.", "Is it published there?")
        if begins != part.held:
            part.restart()
        if begins < 0:
            raise TrustError(f"{wanted.path} at {url} has another size than announced.", "Try another source.")
        while part.held < wanted.size:
            connection.extend(min(deadline, monotonic() + lane.pace.allowed_s(PIECE_BYTES)))
            piece = response.read(min(PIECE_BYTES, wanted.size - part.held))
            if not piece:
                raise LinkError(f"{url} sent only {part.held} of the {wanted.size} bytes of {wanted.path}.")
            part.add(piece)
            lane.tell(part.held, wanted.size)
        if response.read(1):
            part.restart()
            raise TrustError(f"{wanted.path} from {url} is larger than announced.", "Try another source.")


def upload(lane: Lane, path: str, source: Path) -> None:
    """Send a file, or what the server does not hold of it.

    Raises:
        InputError: the file cannot be read or shrinks meanwhile.
        LinkError: the server cannot be reached, is too slow or does not want the file.
        ProtocolError: the server contradicts itself about what it holds.
    """
    try:
        size = source.stat().st_size
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error}.") from error
    deadline = monotonic() + lane.pace.allowed_s(size)
    offset = _held_by_server(lane, path, size, deadline)
    while offset is not None:
        piece = ranges.Piece(start=offset, stop=min(offset + UPLOAD_BYTES, size), size=size)
        try:
            answer = _send_piece(lane, path, _read(source, piece), piece, deadline)
        except LinkError:
            offset = _held_by_server(lane, path, size, deadline)
            if offset is not None and offset <= piece.start:
                raise
        else:
            offset = ranges.upload_goes_on(answer, piece)
            if offset == piece.start:
                raise LinkError(f"{lane.exchanges.base_url} did not take {path}: status {answer.status} {answer.text}".rstrip() + ".")
        lane.tell(size if offset is None else offset, size)


def _held_by_server(lane: Lane, path: str, size: int, deadline: float) -> int | None:
    """Return how many bytes the server holds; none when it holds the whole file."""
    lane.record("HEAD", path, b"")
    limit = min(deadline, monotonic() + lane.pace.patience_s)
    with lane.exchanges.exchange("HEAD", path, body=b"", headers={}, deadline=limit) as (_, response):
        response.read()
        if response.status == 200:
            return None
        if response.status == 404:
            return ranges.parse_offset(response.getheader(ranges.UPLOAD_OFFSET), size)
        raise LinkError(f"{lane.exchanges.base_url} answered {response.status} to HEAD {path}.")


def _send_piece(lane: Lane, path: str, body: bytes, piece: ranges.Piece, deadline: float) -> ranges.Taken:
    headers = {"Content-Range": ranges.content_range(piece), "Content-Type": "application/octet-stream"}
    lane.record("PUT", path, body)
    limit = min(deadline, monotonic() + lane.pace.allowed_s(len(body)))
    with lane.exchanges.exchange("PUT", path, body=body, headers=headers, deadline=limit) as (_, response):
        text = response.read(65536).decode(errors="replace")[:200]
        return ranges.Taken(status=response.status, offset=response.getheader(ranges.UPLOAD_OFFSET), text=text)


def _read(source: Path, piece: ranges.Piece) -> bytes:
    try:
        with source.open("rb") as file:
            file.seek(piece.start)
            body = file.read(piece.stop - piece.start)
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error}.") from error
    if len(body) != piece.stop - piece.start:
        raise InputError(f"{source} has become shorter while it was sent.")
    return body
