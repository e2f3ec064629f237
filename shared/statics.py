"""The files of our pages, read once into memory, and the headers that go with every answer to a browser. Framework-free.

What is not in the folders does not exist: a name is looked up in a table, never in the file system. Every file has its hash as ETag and is
asked for again at each load, so that a new version of the daemon never meets an old page. The policy allows what comes from this server
and nothing else: no inline script or style, no other origin, no frame, no form target; strings cannot become markup (Trusted Types).
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from shared.errors import ConfigurationError

PAGES = Path(__file__).resolve().parent / "pages"
"""The folder of what region and cloud share: sign-in, style, charts."""
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: dict[str, str] = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
"""On every answer of a people's listener."""
TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}  # fmt: skip
SMALLEST_GZIP_BYTES = 512

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Static(msgspec.Struct, frozen=True, kw_only=True):
    """One file: its bytes, the same compressed (empty where that is no gain), its type and its ETag."""

    body: bytes
    packed: bytes
    type: str
    etag: str


class Statics:
    """Files by the path they are served under.

    Args:
        folders: served as `/<name>`; a later folder wins over an earlier one.
        names: further paths of files, such as `{"/": "index.html"}`.
    """

    def __init__(self, folders: Sequence[Path] = (PAGES,), names: Mapping[str, str] | None = None) -> None:
        self._folders = tuple(folders)
        self._names = {"/login": "login.html", "/welcome": "welcome.html", **(names or {})}
        self._files: dict[str, Static] = {}

    def load(self) -> Statics:
        """Read every file and return this.

        Raises:
            ConfigurationError: a file cannot be read, or a name has no file: the installation is not whole.
        """
        try:
            found = {
                f"/{path.name}": _static(path) for folder in self._folders for path in sorted(folder.iterdir()) if path.suffix in TYPES
            }
            self._files = {**found, **{name: found[f"/{file}"] for name, file in self._names.items()}}
        except (OSError, KeyError) as error:
            raise ConfigurationError(f"the pages cannot be read: {error}.", "Install terrace again.") from error
        return self

    def serve(self, path: str) -> Static | None:
        """Return the file of a request's path, or None where there is none."""
        return self._files.get(path)

    def total_bytes(self, packed: bool = False) -> int:
        """Return the size of all files together, each counted once."""
        files = {static.etag: static for static in self._files.values()}.values()
        return sum(len(static.packed or static.body) if packed else len(static.body) for static in files)


async def answer(statics: Statics, path: str, headers: Mapping[str, str], method: str, send: Send) -> None:
    """Answer a request for a page or its parts.

    Args:
        statics: the files.
        path: the request's path.
        headers: of the request, names in lower case.
        method: GET or HEAD; others get 405.
        send: the ASGI callable.
    """
    found = statics.serve(path)
    if method not in {"GET", "HEAD"} or found is None:
        await respond(send, 404 if found is None else 405, b"", "text/plain; charset=utf-8")
        return
    extra = {"etag": found.etag, "cache-control": "no-cache", "vary": "accept-encoding"}
    if headers.get("if-none-match") == found.etag:
        await respond(send, 304, b"", found.type, extra)
        return
    packed = found.packed if "gzip" in headers.get("accept-encoding", "") else b""
    if packed:
        extra["content-encoding"] = "gzip"
    await respond(send, 200, packed or found.body, found.type, extra, bodiless=method == "HEAD")


async def respond(
    send: Send, status: int, body: bytes, kind: str, extra: Mapping[str, str] | None = None, *, bodiless: bool = False
) -> None:
    """Send one whole answer with the headers every page has."""
    headers = {**HEADERS, "content-type": kind, "content-length": str(len(body)), **(extra or {})}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if bodiless else body})


def _static(path: Path) -> Static:
    body = path.read_bytes()
    packed = gzip.compress(body, 9, mtime=0) if len(body) >= SMALLEST_GZIP_BYTES else b""
    return Static(
        body=body,
        packed=packed if len(packed) < len(body) else b"",
        type=TYPES[path.suffix],
        etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"',
    )
