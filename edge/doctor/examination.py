"""One examination: every check in its order, each made only where what it needs is sound. What is judged how: judgement.py, talk.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import urlsplit

from edge.config import EdgeSettings
from edge.doctor import certificates, judgement, probes, talk
from edge.doctor.findings import NEEDS, Finding, Outcome, blocked_by, skipped
from edge.doctor.observations import Address, Relayed, Shaken, Visited, agent_of
from edge.doctor.visit import Visit
from edge.doctor.words import day
from shared.clock import Clock, wall
from shared.errors import LinkError, TerraceError
from shared.identity.store import Identity
from shared.link.proxy import NO_PROXY, ProxyRule
from shared.status import read_status

PATIENCE_S = 5.0
TALK = ("access", "region", "round trip", "throughput")


class Examination:
    """What is looked at, and by whose clock.

    Args:
        settings: edge.toml.
        load: returns the device's identity.
        proxy: which proxy the region is reached through, if any.
        clock: Unix seconds, this machine's.
        patience_s: how long any one answer is waited for.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        load: Callable[[EdgeSettings], Identity],
        *,
        proxy: ProxyRule = NO_PROXY,
        clock: Clock = wall,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._settings = settings
        self._load = load
        self._clock = clock
        self._patience_s = patience_s
        self._proxy = proxy
        link, relay = settings.link, urlsplit(settings.link.relay_url)
        self._broker = _address(link.host, link.port, "link.host and link.port", proxy)
        self._relay = _address(relay.hostname or "", relay.port or 443, "link.relay_url", proxy)
        self._loaded: Identity | None = None
        self._relayed: Relayed | None = None
        self._shaken = Shaken(address=self._broker)
        self._talked: dict[str, Finding] | None = None

    def findings(self) -> Iterator[Finding]:
        """Make one check after the other and yield what each found."""
        make: dict[str, Callable[[], Finding]] = {
            "identity": self._own,
            "names": self._look_up,
            "clock": lambda: judgement.clock(self._ask_relay(), self._self(), now=self._clock()),
            "tcp": lambda: judgement.tcp(probes.dial(self._broker, self._proxy, deadline_s=self._patience_s)),
            "tls": self._shake,
            "certificate": lambda: judgement.certificate(self._shaken, self._self(), now=self._region_clock()),
            **{check: partial(self._talk, check) for check in TALK},
            "relay": lambda: judgement.relay(self._ask_relay()),
        }
        outcomes: dict[str, Outcome] = {}
        for check in NEEDS:
            because = blocked_by(check, outcomes)
            finding = skipped(check, because) if because else make[check]()
            outcomes[check] = finding.outcome
            yield finding

    def _own(self) -> Finding:
        try:
            self._loaded = identity = self._load(self._settings)
        except TerraceError as error:
            code = error.exit_code
            return Finding(check="identity", outcome=Outcome.WRONG, found=error.message.rstrip("."), remedy=error.remedy, exit_code=code)
        found = f"{identity.peer.common_name} of {identity.peer.fleet}, until {day(identity.peer.not_after)}"
        return Finding(check="identity", outcome=Outcome.OK, found=found)

    def _look_up(self) -> Finding:
        return judgement.names([probes.resolve(address, deadline_s=self._patience_s) for address in (self._broker, self._relay)])

    def _shake(self) -> Finding:
        self._shaken = probes.shake(self._broker, self._identity, self._proxy, deadline_s=self._patience_s)
        return judgement.tls(self._shaken)

    def _ask_relay(self) -> Relayed:
        if self._relayed is None:
            url, patience_s = self._settings.link.relay_url, self._patience_s
            self._relayed = probes.ask_relay(url, self._identity, self._relay, self._proxy, wall=self._clock, deadline_s=patience_s)
        return self._relayed

    def _talk(self, check: str) -> Finding:
        """Return the finding of a check on the talk with the region, which is held (or asked about) once for all of them."""
        if self._talked is None:
            self._talked = {found.check: found for found in self._ask_agent()}
        return self._talked.get(check) or skipped(check, "access")

    def _ask_agent(self) -> list[Finding]:
        try:
            status = read_status(self._settings.state / "status.sock")
        except LinkError:
            return talk.of_visit(self._visit(), self._self(), self._ask_relay())
        return talk.of_agent(agent_of(status), self._self(), self._ask_relay())

    def _visit(self) -> Visited:
        key = self._ask_relay().key
        visit = Visit(
            self._broker,
            self._identity,
            link=self._settings.link,
            rule=self._proxy,
            key=key,
            wall=self._region_clock,
            patience_s=self._patience_s,
        )
        return visit.make()

    def _region_clock(self) -> float:
        """Return the time as the region has it, where that is known, else ours."""
        return self._clock() - (judgement.skew(self._ask_relay()) or 0.0)

    @property
    def _identity(self) -> Identity:
        assert self._loaded is not None  # noqa: S101 - checks that need it are skipped without it
        return self._loaded

    def _self(self) -> judgement.Self:
        identity, deadline = self._identity, self._settings.policy.answer_deadline_s
        own = certificates.read(identity.chain[0])
        return judgement.Self(
            name=identity.peer.common_name,
            region=identity.peer.region,
            fleet=identity.peer.fleet,
            not_before=own.not_before if own else 0.0,
            not_after=identity.peer.not_after,
            answer_deadline_s=deadline,
        )


def _address(host: str, port: int, key: str, rule: ProxyRule) -> Address:
    found = rule.for_host(host)
    return Address(host=host, port=port, key=key, proxy="" if found is None else f"{found.host}:{found.port}")
