"""Names: who somebody is, in the three places a certificate says so.

    URI subject alternative name   terrace://<name>.<region>.<tier>.<fleet>/
    common name                    <name>.<region>       (also MQTT client id, topic name and `device` in every message)
    Peer                           what the rest of terrace sees

Each part is a DNS label: 1 to 63 of a-z, 0-9 and hyphen, no hyphen first or last; the common name has at most 64 characters.
The labels stand in the URI's host because name constraints see nothing else of a URI; and a label that a DNS name could not have
would escape the constraint OpenSSL lays on common names. What is *not* here: certificates (chain.py).

Example:
    >>> parse_uri("terrace://edge-1.region-1.edge.acme/")
    ('edge-1', 'region-1', 'edge', 'acme')
"""

from __future__ import annotations

import re

import msgspec

from shared.errors import IdentityError

TIERS = ("edge", "region", "cloud")
LONGEST_COMMON_NAME = 64
"""Characters X.509 allows in a common name."""

_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_URI = re.compile(rf"terrace://({_LABEL})\.({_LABEL})\.({'|'.join(TIERS)})\.({_LABEL})/")


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody whose certificate has been read; whether it may be believed was decided by who made the Peer.

    Attributes:
        name: the machine's own name, such as `edge-1`.
        region: the region it belongs to; `cloud` for the cloud's machines.
        tier: `edge`, `region` or `cloud`.
        fleet: the fleet it belongs to.
        fingerprint: SHA-256 of the certificate's DER, hexadecimal.
        serial: the certificate's serial number.
        issuer: key identifier of the certificate authority that signed it, hexadecimal.
        not_after: when the certificate expires, seconds since the Unix epoch.
    """

    name: str
    region: str
    tier: str
    fleet: str
    fingerprint: str
    serial: int
    issuer: str
    not_after: float

    @property
    def common_name(self) -> str:
        """Return `<name>.<region>`."""
        return f"{self.name}.{self.region}"


def check_label(value: str, what: str) -> str:
    """Return `value` if it may stand in a name.

    Args:
        value: a machine's, region's or fleet's name.
        what: what it names, for the message.

    Raises:
        IdentityError: it is no DNS label of lower-case letters, digits and hyphens.
    """
    if re.fullmatch(_LABEL, value) is None:
        raise IdentityError(
            f"{value!r} cannot be the name of a {what}.", "Use 1 to 63 of a-z, 0-9 and hyphen, beginning and ending with a letter or digit."
        )
    return value


def common_name(name: str, region: str) -> str:
    """Return `<name>.<region>`, checked.

    Raises:
        IdentityError: a part is no label, or both together are longer than 64 characters.
    """
    joined = f"{check_label(name, 'machine')}.{check_label(region, 'region')}"
    if len(joined) > LONGEST_COMMON_NAME:
        raise IdentityError(f"the name {joined} has more than {LONGEST_COMMON_NAME} characters.", "Shorten the machine's or the region's.")
    return joined


def uri(name: str, region: str, tier: str, fleet: str) -> str:
    """Return the URI that stands in a certificate.

    Raises:
        IdentityError: a part is no label, or the tier is unknown.
    """
    if tier not in TIERS:
        raise IdentityError(f"there is no tier {tier!r}.", f"The tiers are {', '.join(TIERS)}.")
    return f"terrace://{common_name(name, region)}.{tier}.{check_label(fleet, 'fleet')}/"


def parse_uri(text: str) -> tuple[str, str, str, str]:
    """Return name, region, tier and fleet of a certificate's URI.

    Raises:
        IdentityError: it is not exactly `terrace://<name>.<region>.<tier>.<fleet>/`.
    """
    match = _URI.fullmatch(text)
    if match is None:
        raise IdentityError(f"the certificate's name {text[:200]!r} is not terrace://<name>.<region>.<tier>.<fleet>/.")
    name, region, tier, fleet = match.groups()
    return name, region, tier, fleet


def host_suffix(region: str | None, tier: str, fleet: str) -> str:
    """Return the URI constraint of an authority: `.<region>.<tier>.<fleet>`, or `.<tier>.<fleet>` for a whole tier."""
    return f".{tier}.{fleet}" if region is None else f".{region}.{tier}.{fleet}"
