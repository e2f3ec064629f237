"""What the preview's listener says of itself to browsers, and whom it answers at all. Pure.

Rules, in order:
1. A request must name this machine itself as its host: a page elsewhere whose name was made to point here (DNS rebinding) is refused. The
   port is not compared: an SSH tunnel has another.
2. A request that changes something must not come from another page (`Sec-Fetch-Site`, `Origin`).
3. The token travels in a header, never in a cookie: cookies of 127.0.0.1 go to every port of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
HEADERS: dict[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
"""On every answer."""
_BEARER = "Bearer "


def is_here(host: str) -> bool:
    """Whether a Host header names this machine itself."""
    return _name(f"http://{host}") in HOSTS


def is_own_page(headers: Mapping[str, str]) -> bool:
    """Whether a request that changes something comes from our page (or from no page at all); names of headers in lower case."""
    origin = headers.get("origin", "")
    return headers.get("sec-fetch-site", "same-origin") in {"same-origin", "none"} and (not origin or _name(origin) in HOSTS)


def token_of(headers: Mapping[str, str]) -> str:
    """Return the token of a request, empty for none; names of headers in lower case."""
    said = headers.get("authorization", "")
    return said[len(_BEARER) :] if said.startswith(_BEARER) else ""


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
