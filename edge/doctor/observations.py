"""What the doctor's probes bring back: plain values, no judgement. Pure.

`Failure` names the ways in which a step of a connection ends, as far as one side can tell them apart.
"""

from __future__ import annotations

from enum import Enum

import msgspec


class Failure(Enum):
    """Why a step of a connection did not succeed."""

    NONE = ""
    NO_SUCH_NAME = "no such name"
    NO_NAME_SERVER = "no name server"
    REFUSED = "refused"
    SILENT = "silent"
    NO_ROUTE = "no route"
    CLOSED = "closed"
    NOT_TLS = "not tls"
    OLD_TLS = "old tls"
    UNTRUSTED = "untrusted"
    OTHER_NAME = "other name"
    WE_ARE_REFUSED = "we are refused"
    PROXY = "proxy"
    OTHER = "other"


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a probe went, and which key of edge.toml says so; `proxy` is the HTTP proxy it goes through, host:port, empty for none."""

    host: str
    port: int
    key: str
    proxy: str = ""

    def __str__(self) -> str:
        """Return `host:port`."""
        return f"{self.host}:{self.port}"

    @property
    def first(self) -> Address:
        """What has to be looked up here: the proxy where there is one, since that looks the rest up."""
        host, _, port = self.proxy.rpartition(":")
        return Address(host=host, port=int(port), key="link.proxy (or HTTPS_PROXY)") if self.proxy else self


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """A name looked up; `words` are the system's, `took_s` seconds."""

    address: Address
    found: tuple[str, ...] = ()
    failure: Failure = Failure.NONE
    words: str = ""
    took_s: float = 0.0


class Dialled(msgspec.Struct, frozen=True, kw_only=True):
    """A TCP connection tried; `took_s` is the time to the answer, or how long it was waited for; `remedy` where a proxy failed."""

    address: Address
    failure: Failure = Failure.NONE
    words: str = ""
    remedy: str = ""
    took_s: float = 0.0


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What a certificate says; `name` is the common name, `uri_tier` empty where terrace did not issue it; times in Unix seconds."""

    name: str
    issuer: str
    uri_tier: str = ""
    uri_region: str = ""
    uri_fleet: str = ""
    not_before: float = 0.0
    not_after: float = 0.0


class Shaken(msgspec.Struct, frozen=True, kw_only=True):
    """A TLS handshake tried, with time left out of the verification; `peer` is whom the other side's certificate names.

    `alert` is the other side's reason for refusing our certificate, `chain_verified` whether the peer's chain ends in our anchor.
    """

    address: Address
    failure: Failure = Failure.NONE
    words: str = ""
    alert: str = ""
    version: str = ""
    peer: Certificate | None = None
    chain_verified: bool = False


class Relayed(msgspec.Struct, frozen=True, kw_only=True):
    """The relay asked for its key announcement.

    Attributes:
        address: the relay's.
        status: of HTTP, 0 when there was no answer.
        words: why there was none, or what the relay said in place of a key.
        date: its clock in Unix seconds, read off an authenticated answer; None when it said none.
        asked_at: our clock in the middle of the exchange, Unix seconds.
        key: the announcement as it came.
    """

    address: Address
    status: int = 0
    words: str = ""
    date: float | None = None
    asked_at: float = 0.0
    key: bytes = b""


class Visited(msgspec.Struct, frozen=True, kw_only=True):
    """A connection the doctor made itself, since no agent ran.

    Attributes:
        accepted: the broker took the connection.
        error: why not, or why it ended.
        lost: the broker closed the connection after it had accepted it.
        delivered: something that the broker held for this device or for all came.
        key: "" without an announcement, "believed", or why it was not.
        hint: the last unauthenticated hint, if one came.
        opened: the region answered our opening under its keys.
        round_trip_s: from the opening to that answer.
        rate_bytes_per_s: what the broker acknowledged, 0 when nothing.
    """

    accepted: bool = False
    error: str = ""
    lost: bool = False
    delivered: bool = False
    key: str = ""
    hint: str = ""
    opened: bool = False
    round_trip_s: float = 0.0
    rate_bytes_per_s: float = 0.0


class AgentEpoch(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's key epoch: `state` of the handshake, and how long it has been the current one, in seconds."""

    state: str = ""
    age_s: float = 0.0
    key_serial: int = 0


class AgentLink(msgspec.Struct, frozen=True, kw_only=True):
    """What the running agent says of its link, with the names of its status."""

    connected: bool = False
    region: str = ""
    broker_connected: bool = False
    connections_last_minute: int = 0
    error: str = ""
    heard_s_ago: float | None = None
    round_trip_ms: float = 0.0
    rate_bytes_per_s: float = 0.0
    epoch: AgentEpoch = AgentEpoch()
    dropped: dict[str, int] = {}


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a running agent's status that the doctor reads; what it does not know is left out."""

    name: str = ""
    link: AgentLink = AgentLink()


def agent_of(status: dict[str, object]) -> Agent:
    """Read a status, of this version of the agent or another."""
    try:
        return msgspec.convert(status, Agent, strict=False)
    except msgspec.ValidationError:
        return Agent(name=str(status.get("name", "")))
