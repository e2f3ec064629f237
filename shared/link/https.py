"""HTTPS between the tiers: requests, long polls and files, with one identity on our side and one tier's anchor on the other.

One client per server, used by any number of threads: a request takes a kept connection or opens one, so a long poll holds nobody up.
The hook `record` sees every request's method, path and body before TLS does; the region keeps what leaves for the cloud that way, so
that anybody can look for pictures in it. Errors and deadlines: exchange.py; files: transfer.py.

Example:
    client = HttpsClient(Identity.load(folder), "https://region-1.example:8443")
    answer = client.get("/v1/key", timeout_s=10)
    client.download("/tuf/targets/x", Path("x"), size=1000, sha256="…")
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

import msgspec

from shared.clock import monotonic
from shared.errors import IdentityError
from shared.identity.store import Identity
from shared.identity.tls import client_context
from shared.link import transfer
from shared.link.exchange import Exchanges, read_body
from shared.link.proxy import NO_PROXY, ProxyRule
from shared.link.transfer import Lane, Pace, Progress, Record, Wanted

SERVES = {"edge": "region", "region": "cloud"}
"""Which tier a tier's machines dial."""
TIMEOUT_S = 30.0
LIMIT_BYTES = 4 * 1024 * 1024


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What a server answered.

    Attributes:
        status: HTTP status; those from 400 up are answers too, not errors.
        headers: names in lower case.
        body: as sent.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class HttpsClient:
    """A client of one server.

    Args:
        trust: our identity, with which the server must be of the tier above; or a ready TLS context.
        base_url: `https://host:port`.
        record: called with method, path and body of every request before it is sent.
        pace: how slow a file's transfer may be.
        proxy: which HTTP proxy the server is reached through, if any.
    """

    def __init__(
        self,
        trust: Identity | ssl.SSLContext,
        base_url: str,
        *,
        record: Record | None = None,
        pace: Pace | None = None,
        proxy: ProxyRule = NO_PROXY,
    ) -> None:
        context = trust if isinstance(trust, ssl.SSLContext) else client_context(trust, server_tier=_tier_above(trust))
        self._exchanges = Exchanges(base_url, context, proxy)
        self._record = record or (lambda *_: None)
        self._pace = pace or Pace()

    @property
    def base_url(self) -> str:
        """Return the server's address."""
        return self._exchanges.base_url

    def get(
        self, path: str, *, headers: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S, limit_bytes: int = LIMIT_BYTES
    ) -> Response:
        """Send a GET request; a long poll is one with a long `timeout_s`.

        Args:
            path: with a leading slash.
            headers: in addition to the usual ones.
            timeout_s: seconds for the whole exchange.
            limit_bytes: most bytes the body may have.

        Raises:
            LinkError: the server cannot be reached, is too slow, refuses our certificate or breaks off.
            IdentityError: the server is not one we trust.
            ProtocolError: the body is too large, or it does not speak HTTP.
        """
        return self.request("GET", path, headers=headers, timeout_s=timeout_s, limit_bytes=limit_bytes)

    def post(
        self,
        path: str,
        body: bytes,
        content_type: str = "application/octet-stream",
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
        limit_bytes: int = LIMIT_BYTES,
    ) -> Response:
        """Send a POST request; it is never sent twice. Arguments and errors as `get`."""
        headers = {"Content-Type": content_type, **(headers or {})}
        return self.request("POST", path, body=body, headers=headers, timeout_s=timeout_s, limit_bytes=limit_bytes)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
        limit_bytes: int = LIMIT_BYTES,
    ) -> Response:
        """Send any request. Arguments and errors as `get`."""
        self._record(method, path, body)
        deadline = monotonic() + timeout_s
        with self._exchanges.exchange(method, path, body=body, headers=headers or {}, deadline=deadline) as (_, response):
            content = read_body(response, limit_bytes)
            named = {name.lower(): value for name, value in response.getheaders()}
            return Response(status=response.status, headers=named, body=content)

    def download(self, path: str, destination: Path, *, size: int, sha256: str, progress: Progress | None = None) -> None:
        """Fetch a file of known size and hash, going on where an earlier attempt broke off.

        Args:
            path: with a leading slash.
            destination: appears only when it is whole and right.
            size: bytes.
            sha256: hexadecimal.
            progress: called with bytes done and bytes in all.

        Raises:
            LinkError: the server cannot be reached, is too slow or has no such file; what has arrived is kept for the next attempt.
            TrustError: what arrived is not what was announced.
            StorageError: the disk is full or read-only.
        """
        transfer.download(self._lane(progress), Wanted(path=path, size=size, sha256=sha256), destination)

    def upload(self, path: str, source: Path, *, progress: Progress | None = None) -> None:
        """Send a file, or what the server does not hold of it yet (headers: shared/link/ranges.py).

        Raises:
            InputError: the file cannot be read.
            LinkError: the server cannot be reached, is too slow or does not want the file.
            ProtocolError: the server contradicts itself about what it holds.
        """
        transfer.upload(self._lane(progress), path, source)

    def close(self) -> None:
        """Close every connection; requests under way in other threads end with a LinkError."""
        self._exchanges.close()

    def _lane(self, progress: Progress | None) -> Lane:
        return Lane(exchanges=self._exchanges, record=self._record, pace=self._pace, progress=progress)


def _tier_above(identity: Identity) -> str:
    tier = identity.peer.tier
    if tier not in SERVES:
        raise IdentityError(f"machines of the tier {tier} dial nobody.", "Give a TLS context for a connection of another kind.")
    return SERVES[tier]
