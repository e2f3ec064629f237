"""Where a repository's bytes come from: a function from a path below it to chunks, over HTTPS or from a folder.

A fetch promises nothing about what it returns; every byte is checked by trust. It translates "not there" into FileNotFoundError
and "cannot be reached" into LinkError.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from shared.errors import LinkError

Fetch = Callable[[str, int], Iterator[bytes]]
"""(path below the repository, first byte wanted) -> chunks; raises FileNotFoundError or LinkError, also while iterating."""

CHUNK_BYTES = 1 << 20
"""What is asked for at once; with the request's deadline this is also the minimum rate."""
LARGEST_REPLY_BYTES = 8 << 20
"""What is taken of a server that ignores ranges: more than any metadata may have."""


class Reply(Protocol):
    """What an HTTP client returns: status, headers and the whole body."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""

    @property
    def body(self) -> bytes:
        """The body."""


class Get(Protocol):
    """The one verb needed of an HTTP client (see shared.link.https)."""

    def __call__(self, path: str, *, headers: dict[str, str], timeout_s: float, limit_bytes: int) -> Reply:
        """Fetch `path`, refusing a body above `limit_bytes`; raises LinkError."""


def from_https(get: Get, *, base: str = "/tuf", timeout_s: float = 30.0) -> Fetch:
    """Return a fetch that asks an HTTPS server range by range.

    Args:
        get: the client's `get`.
        base: where the repository stands on the server.
        timeout_s: deadline of each range of at most 1 MB.
    """

    def fetch(path: str, offset: int) -> Iterator[bytes]:
        url = f"{base}/{quote(path)}"
        while True:
            wanted = {"Range": f"bytes={offset}-{offset + CHUNK_BYTES - 1}"}
            reply = get(url, headers=wanted, timeout_s=timeout_s, limit_bytes=LARGEST_REPLY_BYTES)
            if reply.status == 416:  # nothing after `offset`
                return
            if reply.status in {403, 404}:
                raise FileNotFoundError(path)
            if reply.status not in {200, 206}:
                raise LinkError(f"the server answered {reply.status} to {url}.", "It is asked again later.")
            yield reply.body[offset:] if reply.status == 200 else reply.body
            offset += len(reply.body)
            if reply.status == 200 or len(reply.body) < CHUNK_BYTES:
                return

    return fetch


def first_of(sources: Iterable[Fetch]) -> Fetch:
    """Return a fetch that asks the sources in turn, each where those before it cannot be reached; there is at least one."""
    return functools.reduce(either, sources)


def either(first: Fetch, second: Fetch) -> Fetch:
    """Return a fetch that asks `second` where `first` cannot be reached; what `first` broke off in the middle is not pieced together.

    Without the first, the second's word that there is no newer root stands: it can hide one only until its timestamp ends.
    """

    def fetch(path: str, offset: int) -> Iterator[bytes]:
        has_come = False
        try:
            for chunk in first(path, offset):
                has_come = True
                yield chunk
        except LinkError as error:
            if has_come:
                raise
            try:
                yield from second(path, offset)
            except FileNotFoundError:
                if path.endswith(".root.json"):
                    raise
                raise error from None

    return fetch


def from_folder(folder: Path) -> Fetch:
    """Return a fetch that reads a copy of the repository on disk (the cloud's own, or one carried to a site without a network)."""
    root = folder.resolve()

    def fetch(path: str, offset: int) -> Iterator[bytes]:
        file = (root / path).resolve()
        if not file.is_relative_to(root) or not file.is_file():
            raise FileNotFoundError(path)
        with file.open("rb") as stream:
            stream.seek(offset)
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk

    return fetch
