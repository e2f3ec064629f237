"""What the doctor makes of a connection's steps, from the name to the certificate: observations in, findings out. Pure.

What the agent or the doctor's own visit learned from broker and region is judged in talk.py. Each table below says, for a way to fail,
what that means here and what to do; the words of the system stand in brackets behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edge.doctor.findings import Finding, Outcome
from edge.doctor.observations import Address, Certificate, Dialled, Failure, Relayed, Resolved, Shaken
from edge.doctor.words import day, span
from shared.errors import AccessError, ConfigurationError, IdentityError, LinkError

CLOCK_NOTED_S, CLOCK_WRONG_S = 5.0, 300.0
"""From which difference a clock is mentioned, and from which key announcements are refused (wire.announce)."""
SET_CLOCK = "`timedatectl`, and let NTP (UDP 123) through."
CERTIFICATE_SOON_S = 7 * 86400.0

NAMES = {
    Failure.NO_SUCH_NAME: (
        "there is no machine called {host}",
        "Correct {key}, or enter the name in the DNS or in /etc/hosts.",
    ),
    Failure.NO_NAME_SERVER: (
        "no name server answers, so {host} has no address",
        "Is the cable in, and is a name server set? See `resolvectl status` or /etc/resolv.conf.",
    ),
}
TCP = {
    Failure.REFUSED: (
        "{address} is there, but nobody listens on the port",
        "Is the region running (`terrace region status` on its machine)? Else correct {key}.",
    ),
    Failure.SILENT: (
        "{address} does not answer within {took}",
        "A firewall drops it, the machine is off, or the address is wrong: let TCP to this port through.",
    ),
    Failure.NO_ROUTE: ("there is no way to {address}", "Is the cable in, and is a gateway set? See `ip route`."),
}
TLS = {
    Failure.SILENT: (
        "{address} takes the connection and then says nothing",
        "Something in between holds it (a proxy, a load balancer), or the broker hangs: ask the region's operator.",
    ),
    Failure.CLOSED: (
        "{address} closes the connection in the middle of the handshake",
        "A firewall or proxy that does not let TLS 1.3 with certificates through, or a broker at its limit of connections.",
    ),
    Failure.NOT_TLS: ("{address} does not speak TLS", "Another service has the port, or a proxy answers: correct {key}."),
    Failure.OLD_TLS: ("{address} does not speak TLS 1.3", "An old proxy opens the connection, or it is another broker."),
}


class Self(msgspec.Struct, frozen=True, kw_only=True):
    """This device: its names, its certificate's life (Unix seconds), and how long it waits for answers."""

    name: str
    region: str
    fleet: str
    not_before: float
    not_after: float
    answer_deadline_s: float


def names(seen: Sequence[Resolved]) -> Finding:
    """Judge the look-ups of broker and relay."""
    for one in seen:
        if one.failure is not Failure.NONE:
            default = ("{host} has no address", "Correct {key}.")
            return _failed("names", NAMES.get(one.failure, default), one.address.first, words=one.words)
    return _ok("names", ", ".join({_named(one): None for one in seen}))


def _named(seen: Resolved) -> str:
    """Say what was found; behind a proxy it is the proxy that looks the name up."""
    address = seen.address
    return f"{address.host} is {seen.found[0]}" if not address.proxy else f"the proxy {address.proxy} looks {address.host} up"


def clock(relayed: Relayed, me: Self, *, now: float) -> Finding:
    """Judge this machine's clock by the relay's, or by the life of its own certificate where the relay tells no time."""
    ahead = skew(relayed)
    if ahead is None:
        if now < me.not_before:
            words = f"this machine's clock says {day(now)}; its certificate is not valid before {day(me.not_before)}"
            return _wrong("clock", words, f"Set it: {SET_CLOCK}", ConfigurationError.exit_code)
        found = f"nobody to compare with: the relay did not tell its time ({relayed.words})"
        return Finding(check="clock", outcome=Outcome.UNKNOWN, found=found)
    side = "ahead of" if ahead > 0 else "behind"
    if abs(ahead) > CLOCK_WRONG_S:
        off = span(round(abs(ahead), -1))
        words = f"this machine's clock is {off} {side} the region's: keys and certificates look expired or not yet valid"
        return _wrong(
            "clock", words, "Set the one that is wrong (`timedatectl`), and let NTP (UDP 123) through.", ConfigurationError.exit_code
        )
    if abs(ahead) > CLOCK_NOTED_S:
        return _ok("clock", f"{span(abs(ahead))} {side} the region's, which is borne (up to {span(CLOCK_WRONG_S)})")
    return _ok("clock", "agrees with the region's")


def skew(relayed: Relayed) -> float | None:
    """Return by how many whole seconds our clock is ahead of the relay's, None where it told no time.

    HTTP's Date has no fractions and a server renews it once a second: it is up to two seconds old.
    """
    return None if relayed.date is None else float(round(relayed.asked_at - relayed.date - 1.0))


def tcp(seen: Dialled) -> Finding:
    """Judge the connection to the broker's port."""
    through = f" through the proxy {seen.address.proxy}" if seen.address.proxy else ""
    if seen.failure is Failure.NONE:
        return _ok("tcp", f"{seen.address} answers in {1000 * seen.took_s:.1f} ms{through}")
    if seen.failure is Failure.PROXY:
        return _wrong("tcp", seen.words, seen.remedy, LinkError.exit_code)
    default = ("{address} cannot be reached", "Check {key} and the network.")
    return _failed("tcp", TCP.get(seen.failure, default), seen.address, words=seen.words, took=span(seen.took_s))


def tls(seen: Shaken) -> Finding:
    """Judge whether there is TLS 1.3 at all; whose it is comes next."""
    if seen.failure in TLS:
        return _failed("tls", TLS[seen.failure], seen.address, words=seen.words)
    if seen.failure is Failure.OTHER:
        return _failed(
            "tls", ("the handshake with {address} fails", "Ask the region's operator for the broker's log."), seen.address, words=seen.words
        )
    return _ok("tls", seen.version or "the other side shows a certificate")


def certificate(seen: Shaken, me: Self, *, now: float) -> Finding:
    """Judge both certificates: theirs by chain, name, tier, region and life; ours by its life and by whether they take it.

    Args:
        seen: the handshake.
        me: this device.
        now: Unix seconds, by the region's clock where it is known.
    """
    theirs = seen.peer
    if theirs is None:
        return _identity(f"{seen.address} shows no certificate", "It is no region's broker.")
    wrong = _not_a_region(seen, theirs, me) or _life(f"the region's certificate ({theirs.name})", theirs.not_before, theirs.not_after, now)
    wrong = wrong or _life("this device's certificate", me.not_before, me.not_after, now) or _not_taken(seen)
    if wrong is not None:
        return wrong
    left = min(me.not_after, theirs.not_after) - now
    soon = f"; one of the two ends in {span(left)}: issue it anew" if left < CERTIFICATE_SOON_S else f"; both good for {span(left)}"
    return _ok("certificate", f"{theirs.name}, a region's; ours is taken{soon}")


def relay(seen: Relayed) -> Finding:
    """Judge the region's HTTPS listener, where releases and the key come from; the link itself goes on without it."""
    if seen.status == 200:
        return _ok("relay", f"gives the region's key ({len(seen.key)} bytes)")
    if seen.status == 403:
        return _wrong("relay", f"refuses this device: {seen.words}", "Ask the region's operator; see `access`.", AccessError.exit_code)
    if seen.status:
        words = f"answers {seen.status}: {seen.words}"
        return _wrong("relay", words, "Look into the region's log.", LinkError.exit_code)
    words = f"does not answer: {seen.words}"
    return _wrong(
        "relay", words, "Releases wait until it does; check link.relay_url and whether its port is let through.", LinkError.exit_code
    )


def _not_a_region(seen: Shaken, theirs: Certificate, me: Self) -> Finding | None:
    """Whose certificate it is, where it is not our region's; the first row that holds."""
    who, key = theirs.name, seen.address.key
    rows = (
        (
            not theirs.uri_tier,
            f"{seen.address} shows a certificate of {theirs.issuer!r}, which is not terrace's",
            "A proxy that opens TLS, or another service: except this address from inspection, or correct it.",
        ),
        (
            theirs.uri_fleet != me.fleet,
            f"{seen.address} belongs to the fleet {theirs.uri_fleet}, this device to {me.fleet}",
            f"Correct {key}.",
        ),
        (
            theirs.uri_tier != "region",
            f"{seen.address} shows a certificate of the tier {theirs.uri_tier} ({who}), not of a region",
            "Somebody with another tier's key answers in the region's place: tell the fleet's operator.",
        ),
        (
            seen.failure is Failure.UNTRUSTED,
            f"{who} says it is of {me.fleet}, but its certificate does not lead to this fleet's anchor ({seen.words})",
            "The device has another fleet's anchors (`anchors.json`), or somebody answers in the region's place.",
        ),
        (
            seen.failure is Failure.OTHER_NAME,
            f"the certificate of {who} is not made for the name {seen.address.host}",
            f"Issue it with --host {seen.address.host}, or write another of its names into {key}.",
        ),
        (
            theirs.uri_region != me.region,
            f"{seen.address} is {theirs.uri_region}'s broker, this device belongs to {me.region}",
            f"Correct {key}.",
        ),
    )
    return next((_identity(words, remedy) for holds, words, remedy in rows if holds), None)


def _life(what: str, not_before: float, not_after: float, now: float) -> Finding | None:
    if now < not_before:
        return _identity(f"{what} is not valid before {day(not_before)}; it is {day(now)}", "Check both clocks, and the authority's.")
    if now > not_after:
        return _identity(f"{what} expired {span(now - not_after)} ago, on {day(not_after)}", "Issue it anew with `terrace provision pki`.")
    return None


def _not_taken(seen: Shaken) -> Finding | None:
    """Why the other side does not take our certificate, by TLS's own word."""
    if seen.failure is not Failure.WE_ARE_REFUSED:
        return None
    if "REVOKED" in seen.alert:
        words, remedy = (
            "the region refuses this device's certificate: it is revoked",
            "Issue the device a new identity, if it is still yours.",
        )
        return _wrong("certificate", words, remedy, AccessError.exit_code)
    if "EXPIRED" in seen.alert:
        words = "the region says that this device's certificate, or its own revocation list, has expired"
        return _identity(
            words, "Compare the clocks; `terrace provision pki device` issues a certificate, `terrace provision pki crl` a list."
        )
    if "UNKNOWN_CA" in seen.alert:
        words = "the region does not know who signed this device's certificate"
        return _identity(words, "It is of another fleet or region: copy the right identity folder.")
    words = f"the region refuses this device's certificate ({seen.alert or seen.words or 'it does not say why'})"
    return _identity(words, "The broker's log (`state/broker/broker.log` of the region) says why.")


def _identity(words: str, remedy: str) -> Finding:
    return _wrong("certificate", words, remedy, IdentityError.exit_code)


def _failed(check: str, said: tuple[str, str], address: Address, *, words: str, took: str = "") -> Finding:
    """Fill a table's row in."""
    found, remedy = (text.format(address=address, host=address.host, key=address.key, took=took) for text in said)
    return _wrong(check, f"{found} ({words})" if words else found, remedy, LinkError.exit_code)


def _wrong(check: str, found: str, remedy: str, code: int) -> Finding:
    return Finding(check=check, outcome=Outcome.WRONG, found=found, remedy=remedy, exit_code=code)


def _ok(check: str, found: str) -> Finding:
    return Finding(check=check, outcome=Outcome.OK, found=found)
