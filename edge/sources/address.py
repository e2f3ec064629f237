"""Where a camera is and how its password stays out of sight. Pure.

Rules, in order:
1. The address in the configuration holds no password; name and password stand in a file of their own (`name:password`).
2. They are put into the address at the last moment, for the decoder library alone.
3. What stands behind a `=` in path or query is not shown: some cameras want their credentials there and leave no other way.
4. Whatever that library says is redacted before anybody reads it: the password and the name, plain and as they stand in an address.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import msgspec

from shared.errors import ConfigurationError

HIDDEN = "***"
_VALUE = re.compile(r"=[^&/?#\s\"']*")
_USER = re.compile(r"//[^/@\s\"']*@")
REMEDY = "Give rtsp://host[:port]/path, and name and password as `name:password` in the file that `credentials` names."


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A camera's address, without and with its credentials."""

    shown: str
    """For people."""
    dialled: str
    """For the decoder library; never shown."""
    secrets: tuple[str, ...] = ()
    """What must not be shown."""

    def redact(self, text: str) -> str:
        """Return the text without any of the secrets."""
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return text


def address(url: str, credentials: str = "") -> Address:
    """Put an address together.

    Args:
        url: `rtsp://host[:port]/path`.
        credentials: `name:password`, empty for none; a trailing line end is dropped.

    Returns:
        The address.

    Raises:
        ConfigurationError: no such URL, or one with a password in it, which is not repeated.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError("a stream's url is no address.", REMEDY) from None
    if parts.scheme != "rtsp" or not host:
        raise ConfigurationError("a stream's url does not begin with rtsp://host.", REMEDY)
    if any(ord(letter) <= 32 for letter in url):
        raise ConfigurationError("a stream's url has a space or a line end in it.", "Write a space as %20.")
    if "@" in parts.netloc:
        raise ConfigurationError(f"the url of the camera at {host} holds a password.", REMEDY)
    if "@" in url:  # a password with a slash in it puts the host's name into the path
        raise ConfigurationError("a stream's url holds a password, or an @ in its path.", f"{REMEDY} Write an @ in the path as %40.")
    name, colon, password = credentials.rstrip("\r\n").partition(":")
    if not credentials:
        return Address(shown=shown(url), dialled=url)
    if not colon or not name:
        raise ConfigurationError(f"the credentials of the camera at {host} are not `name:password`.", REMEDY)
    netloc = f"{quote(name, safe='')}:{quote(password, safe='')}@{_host(host)}{f':{port}' if port else ''}"
    dialled = urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))
    return Address(shown=shown(url), dialled=dialled, secrets=_forms(password) + _forms(name))


def shown(text: str) -> str:
    """Return an address, or what a library says of one, for people (rule 3)."""
    return _VALUE.sub(f"={HIDDEN}", _USER.sub(f"//{HIDDEN}@", text))


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _forms(secret: str) -> tuple[str, ...]:
    """Return a secret as it may be printed, longest first."""
    found = {secret, quote(secret), quote(secret, safe=""), unquote(secret)} - {""}
    return tuple(sorted(found, key=len, reverse=True))
