"""What a certificate says of its holder, believed or not. Pure."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from edge.doctor.observations import Certificate
from shared.errors import IdentityError
from shared.identity.chain import peer_of

LONGEST_NAME = 80


def read(der: bytes | None) -> Certificate | None:
    """Return what a certificate says; None where there is none, or none that can be read.

    Args:
        der: as the other side showed it.
    """
    try:
        parsed = x509.load_der_x509_certificate(der or b"")
        said = Certificate(
            name=_common_name(parsed.subject),
            issuer=_common_name(parsed.issuer),
            not_before=parsed.not_valid_before_utc.timestamp(),
            not_after=parsed.not_valid_after_utc.timestamp(),
        )
    except (ValueError, UnsupportedAlgorithm):
        return None
    try:
        peer = peer_of(der or b"")
    except IdentityError:
        return said  # somebody else's
    return Certificate(
        name=peer.common_name,
        issuer=said.issuer,
        uri_tier=peer.tier,
        uri_region=peer.region,
        uri_fleet=peer.fleet,
        not_before=said.not_before,
        not_after=said.not_after,
    )


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME) or list(name)
    return str(found[0].value)[:LONGEST_NAME] if found else "nobody"
