"""A site's HTTP proxy: which one, if any, a host is reached through, and what is said to it. Pure.

Rules, in order:
1. `link.proxy` decides where it is set: an address, or `direct` for none.
2. Else the environment: `https_proxy` or `HTTPS_PROXY`, except for this machine itself and for what `no_proxy` or `NO_PROXY` names.
3. The proxy is asked to CONNECT (RFC 9110, 9.3.6) and then only carries bytes: TLS goes through it end to end, so that it sees the name
   of the region's machine, sizes and times. A name and a password go to it in Basic (RFC 7617), as its own connection is: in the clear.
4. Its answer is read up to `LARGEST_ANSWER_BYTES` and no further than its end; a server that is connected waits for us, so that
   anything behind the answer is none of the region's.

Example:
    >>> ProxyRule(setting="http://proxy.site:3128").for_host("region.example")
    Proxy(host='proxy.site', port=3128, has_password=False)
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import unquote, urlsplit

import msgspec

from shared.errors import ConfigurationError, LinkError, ProtocolError

DIRECT = "direct"
PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY")
LARGEST_ANSWER_BYTES = 16 << 10
HTTP_PORT = 80
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: ([^\r\n]*))?\r?\n")
_BEGINNING = b"HTTP/1."
_END = re.compile(rb"\r?\n\r?\n")
_REMEDIES = {
    403: "Ask the site's administrators to let this device CONNECT to it.",
    405: "Ask the site's administrators to allow the method CONNECT.",
    502: "The proxy cannot reach it: check link.host and link.port, and what the proxy may reach.",
    503: "The proxy cannot reach it now; it is tried again.",
    504: "The proxy cannot reach it: check link.host and link.port, and what the proxy may reach.",
}


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP proxy; `credentials` is the name and password as they travel, empty for none."""

    host: str
    port: int
    credentials: str = ""

    def __repr__(self) -> str:
        return f"Proxy(host={self.host!r}, port={self.port}, has_password={bool(self.credentials)})"  # passwords never reach a log


class ProxyRule(msgspec.Struct, frozen=True, kw_only=True):
    """Which proxy a host is reached through: `setting` as in `link.proxy`, `environment` as the process has it."""

    setting: str = ""
    environment: Mapping[str, str] = {}

    def for_host(self, host: str) -> Proxy | None:
        """Return the proxy for a host, None to dial it directly.

        Raises:
            ConfigurationError: the proxy's address cannot be used.
        """
        if self.setting:
            return None if self.setting == DIRECT else parse(self.setting, "link.proxy")
        name = next((name for name in PROXY_VARIABLES[:2] if self.environment.get(name)), "")
        spared = self.environment.get("no_proxy") or self.environment.get("NO_PROXY") or ""
        if not name or is_spared(host, spared):
            return None
        return parse(self.environment[name], name)

    def __repr__(self) -> str:
        return "ProxyRule()"  # setting and environment may hold a password


NO_PROXY = ProxyRule(setting=DIRECT)


def parse(url: str, where: str) -> Proxy:
    """Return the proxy of an address `http://name:password@host:port`; name and password are percent-encoded.

    Args:
        url: the address; without a scheme it is taken as http.
        where: the key or variable it stands in, for the message, which never repeats the address: it may hold a password.

    Raises:
        ConfigurationError: it is no such address.
    """
    remedy = "Write it as http://host:port or http://name:password@host:port."
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port, name = parts.hostname, parts.port, parts.username
    except ValueError:
        raise ConfigurationError(f"the proxy in {where} cannot be read.", remedy) from None
    if parts.scheme == "https":
        raise ConfigurationError(f"the proxy in {where} wants TLS to itself.", f"{remedy} What goes through it is TLS end to end.")
    if parts.scheme != "http" or not host or port == 0 or parts.path not in {"", "/"} or " " in host:
        raise ConfigurationError(f"the proxy in {where} is no HTTP proxy.", remedy)
    pair = f"{unquote(name)}:{unquote(parts.password or '')}" if name else ""
    return Proxy(host=host, port=port or HTTP_PORT, credentials=base64.b64encode(pair.encode()).decode())


def is_spared(host: str, spared: str) -> bool:
    """Return whether a host is dialled directly: this machine itself, and what a `NO_PROXY` list names.

    Args:
        host: name or address.
        spared: names (also for what lies below them), addresses, networks (`10.0.0.0/8`) or `*`, separated by commas.
    """
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    if address is not None and address.is_loopback:
        return True
    return any(_names(entry.strip().lower(), name) for entry in spared.split(",") if entry.strip())


def request(host: str, port: int, proxy: Proxy) -> bytes:
    """Return the request to connect us to a host."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    lines += [f"Proxy-Authorization: Basic {proxy.credentials}"] if proxy.credentials else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii", "replace")


class Answer:
    """The proxy's answer, as it comes in.

    Args:
        proxy: who answers, for messages.
        target: what it was asked for, for messages.
    """

    def __init__(self, proxy: Proxy, target: str) -> None:
        self._who, self._has_password, self._target = f"the proxy {proxy.host}:{proxy.port}", bool(proxy.credentials), target
        self._data = b""

    def feed(self, data: bytes) -> bool:
        """Take bytes in (none: the proxy hung up); returns True once we are connected.

        Raises:
            LinkError: the proxy refuses, or hung up.
            ProtocolError: this is no answer of a proxy.
        """
        self._data += data
        end = _END.search(self._data)
        if end is None:
            self._refuse_rubbish(is_over=not data)
            return False
        status = _STATUS.match(self._data)
        if status is None:
            raise self._rubbish()
        code = int(status[1])
        if not 200 <= code < 300:
            raise self._refusal(code, (status[2] or b"").decode("ascii", "replace"))
        if end.end() != len(self._data):
            raise ProtocolError(f"{self._who} says more than that we are connected.", "It is no proxy that can be used.")
        return True

    def _refuse_rubbish(self, *, is_over: bool) -> None:
        if is_over:
            raise LinkError(f"{self._who} hung up without an answer.", "Check link.proxy.")
        has_line = b"\n" in self._data
        is_odd = not self._data.startswith(_BEGINNING[: len(self._data)]) or (has_line and not _STATUS.match(self._data))
        if is_odd or len(self._data) > LARGEST_ANSWER_BYTES:
            raise self._rubbish()

    def _rubbish(self) -> ProtocolError:
        return ProtocolError(f"{self._who} does not answer like an HTTP proxy.", "Check link.proxy: is that its port?")

    def _refusal(self, code: int, reason: str) -> LinkError:
        if code == 407:
            said = "refuses the name and password" if self._has_password else "wants a name and a password"
            return LinkError(f"{self._who} {said} (407).", "Set link.proxy to http://name:password@host:port, in percent-encoding.")
        clean = "".join(letter for letter in reason[:60] if letter.isprintable())
        said = f"{self._who} does not connect us to {self._target}: {code} {clean}".rstrip()
        return LinkError(f"{said}.", _REMEDIES.get(code, "Check link.proxy."))


def _names(entry: str, host: str) -> bool:
    if entry == "*":
        return True
    address = _address(host)
    if address is not None:
        try:
            return address in ip_network(entry, strict=False)
        except ValueError:
            return False
    suffix = entry.lstrip("*").lstrip(".").rstrip(".")
    return bool(suffix) and (host == suffix or host.endswith(f".{suffix}"))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
