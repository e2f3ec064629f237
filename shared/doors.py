"""Who asks: a program with a bearer token, or a browser with a session cookie. One rule for every route of every people's listener.

Rules, in order:
1. A bearer token in the Authorization header, where there is one, is all that counts: browsers do not send it by themselves.
2. Else the cookie `__Host-terrace`, with the port where the address has one: browsers share cookies between the ports of a host, and
   signing in to a region's page must not sign out of the cloud's beside it. What it asks for is believed to come from our own pages
   only when
   - the Origin, where the browser sends one, is the host it asked, and
   - a write carries the session's own token in X-CSRF-Token.

Example:
    grant = doors.grant({"authorization": "Bearer terrace_…"}, "GET")
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Protocol

from shared.errors import AccessError
from shared.roles import Grant
from shared.sessions import SignedIn

COOKIE = "__Host-terrace"
CSRF = "x-csrf-token"
READS = frozenset({"GET", "HEAD", "OPTIONS"})


class Tokens(Protocol):
    """Where bearer tokens are checked (access.py)."""

    def check(self, token: str) -> Grant:
        """Return what a token gives; raises AccessError."""


class Sessions(Protocol):
    """Where cookies are checked (sessions.py)."""

    def check(self, token: str, *, touch: bool = True) -> SignedIn:
        """Return what a session gives; raises AccessError."""


class Doors:
    """The one check of every route.

    Args:
        tokens: the tokens of programs; None where there are none.
        sessions: the sessions of browsers.
    """

    def __init__(self, tokens: Tokens | None, sessions: Sessions) -> None:
        self._tokens = tokens
        self._sessions = sessions

    def who(self, headers: Mapping[str, str], *, touch: bool = True) -> Grant:
        """Return who asks, without asking whether a write was meant.

        Args:
            headers: of the request, names in lower case.
            touch: whether this counts as use of a session.

        Raises:
            AccessError: nobody we know.
        """
        bearer = _bearer(headers)
        if bearer is not None:
            if self._tokens is None:
                raise AccessError("the token is not valid.", "Nobody gives out tokens here; sign in.")
            return self._tokens.check(bearer)
        return self._sessions.check(cookie_of(headers), touch=touch).grant

    def vouch(self, headers: Mapping[str, str], method: str) -> None:
        """Make sure that a browser's request was meant by our own page.

        Raises:
            AccessError: another site may have sent it.
        """
        if _bearer(headers) is not None:
            return
        require_same_origin(headers)
        if method.upper() not in READS:
            wanted = self._sessions.check(cookie_of(headers)).csrf
            if not hmac.compare_digest(headers.get(CSRF, "").encode(), wanted.encode()):
                raise AccessError("the request does not carry the page's own token.", "Load the page again.")

    def grant(self, headers: Mapping[str, str], method: str) -> Grant:
        """Return who asks and may be answered.

        Args:
            headers: of the request, names in lower case.
            method: the HTTP method.

        Raises:
            AccessError: nobody we know, or a request another site may have made.
        """
        found = self.who(headers)
        self.vouch(headers, method)
        return found


def cookie_name(headers: Mapping[str, str]) -> str:
    """Return the name of the session's cookie at the address that was asked."""
    port = headers.get("host", "").rpartition(":")[2]
    return f"{COOKIE}-{port}" if port.isdigit() else COOKIE


def cookie_of(headers: Mapping[str, str]) -> str:
    """Return the session's token from the cookies.

    Raises:
        AccessError: there is none.
    """
    try:
        jar = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        jar = SimpleCookie()
    morsel = jar.get(cookie_name(headers)) or jar.get(COOKIE)
    if morsel is None or not morsel.value:
        raise AccessError("this needs a sign-in or a token.", "Sign in, or send a token as Authorization: Bearer.")
    return morsel.value


def require_same_origin(headers: Mapping[str, str]) -> None:
    """Let pass what our own pages send, and what no browser sends.

    Raises:
        AccessError: the request came from a page of another origin.
    """
    origin = headers.get("origin")
    if origin is not None and origin != f"https://{headers.get('host', '')}":
        raise AccessError("a page of another site asked for this.", "Use the page of this server.")
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"} and headers.get("sec-fetch-mode") != "navigate":
        raise AccessError("a page of another site asked for this.", "Use the page of this server.")


def _bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
